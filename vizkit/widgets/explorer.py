"""The explorer: fields, the linked canvas, and what happens when a field changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as ipw
from torch import nn

from vizkit.comparing.classes import shared_classes
from vizkit.errors import InputError, VizkitError
from vizkit.interrupts import surely
from vizkit.models import Classifier, as_classifiers
from vizkit.widgets.album import Album
from vizkit.widgets.canvas import StageCanvas
from vizkit.widgets.controls import MOST_MODELS, NONE, Controls
from vizkit.widgets.kept import Kept
from vizkit.widgets.looking import Look, Question, Step, look
from vizkit.widgets.patches import search
from vizkit.widgets.scene import Scene, heat_scene, map_scene
from vizkit.widgets.shelf import Shelf
from vizkit.widgets.upload import Receiver
from vizkit.widgets.work import Events, Work, in_words

DEFAULT_MODELS = ("demo/vgg11", "demo/vgg19_bn", "demo/vovnet19b")


def explore(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any] | None = None,
    images: object = None,
) -> Explorer:
    """Explore what one to four networks make of a photo, stage by stage, in a notebook.

    Parameters
    ----------
    models : model, list of models, or dict of str to model, optional
        Names, modules or classifiers; by default three of the bundled ones.
    images : path, folder, PIL image, array, tensor, Images, or a list of these, optional
        The photos to choose from; by default the bundled ones. Others can be added in the widget.

    Returns
    -------
    Explorer
        A widget; the last line of a cell shows it.

    Raises
    ------
    InputError
        If there are more than four models or no photo, or the first photo cannot be read.
    """
    return Explorer(models, images)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What one question gives the canvas; no maps where they are those it has."""

    asked: _Asked
    question: Question
    look: Look
    classes: tuple[str, ...]
    maps: Scene | None
    heat: Scene


class Explorer(Kept):
    """Fields and a linked canvas; see `vizkit.explore`.

    Attributes
    ----------
    canvas : StageCanvas
        The picture. Its traits say what is chosen, and can be set: place, row, rank, tiles, view,
        cells, scale, overlay, pixel.
    controls : Controls
        The fields around it: setting the value of one asks for another picture.
    look : Look
        What is shown: maps and attributions by model, raw.
    """

    look: Look

    def __init__(self, models: Any = None, images: Any = None) -> None:
        # first, for a widget is closed even if it could not be made
        self._work = Work(Events(self._step, self._unanswered, self._finished))
        classifiers = as_classifiers(DEFAULT_MODELS if models is None else models)
        if len(classifiers) > MOST_MODELS:
            raise InputError(
                f"explore shows up to {MOST_MODELS} models side by side, not {len(classifiers)}"
            )
        self._album = Album(images)
        self._shelf = Shelf(classifiers)
        names = [each.name for each in classifiers]
        self.controls = Controls(self._shelf.names, names, self._album.names)
        self.canvas = StageCanvas()
        self._question: Question | None = None
        self._shown: _Asked | None = None
        self._searching = False
        # what of the last upload could not be taken
        self._refused: list[str] = []
        self._show(self._answer(self._asked(), None, lambda *_: None))
        super().__init__([self.controls.box(), self.canvas])
        self.add_class("vizkit-explorer")
        self._listen()
        self.canvas.message = self._album.note

    def _title(self) -> str:
        return f"{self.canvas.scene['image']}: {', '.join(self.look.maps)}"

    def _listen(self) -> None:
        for field in self.controls.questions:
            field.observe(self._changed, "value")
        self.controls.another.observe(self._guarded(self._add_model), "value")
        self.controls.path.observe(self._guarded(self._add_path), "value")
        receiver = Receiver(
            self._refused.clear, self._receiving, self._add_upload, self._not_received
        )
        self.controls.upload.tell(receiver)
        self.controls.patches.on_click(lambda _button: self._search())
        self.controls.cancel.on_click(lambda _button: self._cancel())

    def _asked(self) -> _Asked:
        """Read the fields."""
        controls = self.controls
        if not any(controls.slots):
            raise InputError("no model is chosen")
        return _Asked(
            controls.slots,
            controls.photo.value,
            controls.read_at.value,
            controls.method.value,
            controls.target.value.strip() or None,
        )

    def _changed(self, _change: Any) -> None:
        """Ask for what somebody has set."""
        if self.controls.quiet:
            return
        self._refused.clear()
        self._ask()

    def _ask(self) -> None:
        """Ask for what the fields say now."""
        self._say()
        try:
            asked = self._asked()
        except VizkitError as error:
            self._work.cancel()
            self._unanswered(in_words(error))
            return
        before = self._question
        if self._searching:
            self._say("The search for top patches was stopped by another question.")
        self._searching = False
        self._busy("working")
        self._work.start(lambda step: self._answer(asked, before, step), self._show)

    def _answer(self, asked: _Asked, before: Question | None, step: Step) -> _Answer:
        """Run the networks; in a thread of its own, so that no field is read or set here."""
        classifiers = []
        for name in asked.models:
            step(f"loading {name}", 0.0)
            classifiers.append(self._shelf.get(name))
        question = Question(
            tuple(as_classifiers(classifiers)),
            self._album[asked.photo],
            asked.read_at,
            asked.method,
            _output(asked.target, classifiers),
        )
        found = look(question, step)
        logits = [each.logits.shape[1] for each in found.maps.values()]
        maps = None
        if before is None or not question.same_maps(before):
            maps = map_scene(found, self._shelf.windows(question.classifiers, found.maps))
        classes = shared_classes(question.classifiers, logits).names
        return _Answer(asked, question, found, classes, maps, heat_scene(found, question.method))

    def _show(self, answer: _Answer) -> None:
        """Give the canvas another picture."""
        canvas = self.canvas
        same_layers = answer.question.same_layers(self._question)
        self._question, self._shown = answer.question, answer.asked
        self.controls.offer_classes(answer.classes)
        # maps that are shown already are kept, as the canvas keeps them
        kept = answer.look.maps if answer.maps is not None else self.look.maps
        self.look = replace(answer.look, maps=kept)
        with surely(canvas.hold_sync()):
            if answer.maps is not None:
                canvas.place = _same_place(canvas, answer.maps)
                canvas.scene, canvas.scene_data = answer.maps.meta, answer.maps.data
            if not same_layers:
                canvas.patches, canvas.patches_data = {}, b""
            canvas.heat, canvas.heat_data = answer.heat.meta, answer.heat.data

    def _search(self) -> None:
        """Search the photos for what excites each channel most, of all that is shown."""
        if self._work.busy or self._question is None:
            return
        classifiers, places = self._question.classifiers, self.look.places
        photos = self._album.images
        self._searching = True
        self._refused.clear()
        self._say()
        self._busy("searching")
        self._work.start(lambda step: search(classifiers, places, photos, step), self._show_patches)

    def _show_patches(self, found: Scene) -> None:
        with surely(self.canvas.hold_sync()):
            self.canvas.patches, self.canvas.patches_data = found.meta, found.data

    def _add_model(self, name: str) -> None:
        if not name.strip():
            return
        self.controls.offer_model(name.strip())
        self._clear(self.controls.another, "")
        self._ask()

    def _add_path(self, path: str) -> None:
        if not path.strip():
            return
        self._offer(self._album.add(path.strip()))
        self.canvas.message = self._album.note
        self._clear(self.controls.path, "")

    def _receiving(self, name: str, share: float) -> None:
        self._busy(f"receiving {name}")
        self.controls.progress.value = share

    def _not_received(self, words: str) -> None:
        self._refused.append(words)
        self._finished()
        # what another file of the same upload is shown soon, the picture does not still show
        if self._work.busy:
            self._say()
        else:
            self._failed("")

    def _add_upload(self, name: str, content: bytes) -> None:
        self._finished()
        self._offer(self._album.add_upload(name, content))

    def _offer(self, name: str) -> None:
        self.controls.offer_photos(self._album.names, name)
        self._ask()

    def _clear(self, field: ipw.Widget, value: object) -> None:
        with self.controls.changing():
            field.value = value

    def _guarded(self, act: Any) -> Any:
        """Make an observer whose errors are seen in the widget."""

        def observer(change: Any) -> None:
            if self.controls.quiet:
                return
            self._refused.clear()
            self._say()
            try:
                act(change["new"])
            except Exception as error:
                self._failed(in_words(error))

        return observer

    def _cancel(self) -> None:
        stopped = [self._work.cancel(), self.controls.upload.cancel()]
        if any(stopped):
            self._finished()
            self._unanswered("Cancelled.")

    def _busy(self, text: str) -> None:
        self.canvas.busy = text
        self.controls.show_busy(bool(text))

    def _step(self, text: str, share: float) -> None:
        self.canvas.busy = text
        self.controls.progress.value = share

    def _say(self, *words: str) -> None:
        """Tell something, after which files of an upload were refused."""
        self.canvas.message = "\n".join(filter(None, [*self._refused, *words]))

    def _failed(self, words: str) -> None:
        shown = self._question
        if shown is None:
            self._say(words)
            return
        names = ", ".join(each.name for each in shown.classifiers)
        photo, method = shown.photo.photos[0].name, self.canvas.heat["method"]
        self._say(words, f"The picture still shows {names} on {photo}, {method}.")

    def _unanswered(self, words: str) -> None:
        """Tell why there is no other picture, and have the fields say what this one shows.

        Else any other change would ask the same again.
        """
        shown, controls = self._shown, self.controls
        if shown is not None:
            # what could not be loaded is no choice
            controls.list_models(self._shelf.names, shown.slots)
            with controls.changing():
                controls.photo.value = shown.photo
                controls.read_at.value = shown.read_at
                controls.method.value = shown.method
                controls.target.value = shown.target or ""
        self._failed(words)

    def _finished(self) -> None:
        if not self._work.busy:
            self._searching = False
            self._busy("")


@dataclass(frozen=True)
class _Asked:
    """What the fields say."""

    slots: tuple[str, ...]
    photo: str
    read_at: str
    method: str
    target: str | None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the networks."""
        return tuple(name for name in self.slots if name != NONE)


def _output(target: str | None, classifiers: Sequence[Classifier]) -> str | int | None:
    """Read "class 3", as outputs without names are listed, as the number of an output."""
    number = re.fullmatch(r"(?:class )?(\d+)", target or "")
    named = any(target in each.classes for each in classifiers)
    return int(number[1]) if number and not named else target


def _same_place(canvas: StageCanvas, scene: Scene) -> int:
    """Find the chosen place among others, or the middle where it is not one of them."""
    places = scene.meta["places"]
    before = canvas.scene.get("places", [])
    name = before[canvas.place] if canvas.place < len(before) else None
    return places.index(name) if name in places else len(places) // 2
