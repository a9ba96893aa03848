"""The similarity explorer: the atlas of all pairs of taps, and their maps of a photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from vizkit.cka import similarity as measured
from vizkit.errors import InputError, VizkitError, unknown
from vizkit.forward import capture
from vizkit.interrupts import surely
from vizkit.models import Classifier, as_classifiers, load
from vizkit.results import Similarity
from vizkit.widgets.album import Album
from vizkit.widgets.atlas import AtlasCanvas, atlas_scene, tap_scene
from vizkit.widgets.controls import Waiting, labelled, row
from vizkit.widgets.kept import Kept
from vizkit.widgets.scene import Scene
from vizkit.widgets.work import Events, Step, Work


def explore_similarity(
    similarity: Similarity | str | nn.Module | Classifier | Sequence[Any] | dict[str, Any],
    images: object = None,
    *,
    models: Any = None,
    **options: Any,
) -> SimilarityExplorer:
    """Explore how similar the maps of every two taps of networks are, in a notebook.

    Parameters
    ----------
    similarity : Similarity, or models as for `vizkit.similarity`
        What is measured already, or the networks to measure first.
    images : path, folder, PIL image, array, tensor, Images, or a list of these, optional
        What to measure on, at least four, and the photos whose maps can be shown; by default the
        bundled ones.
    models : model, list of models, or dict of str to model, optional
        The networks of a similarity that cannot be loaded by their names.
    **options
        As for `vizkit.similarity`, where it is measured here: at, kernel, batch_size, ...

    Returns
    -------
    SimilarityExplorer
        A widget; the last line of a cell shows it.

    Raises
    ------
    InputError
        If models, images or options cannot be used.
    """
    album = Album(images)
    if isinstance(similarity, Similarity):
        if options:
            raise InputError(
                f"{', '.join(options)}: for measuring, but this similarity is measured already"
            )
        return SimilarityExplorer(similarity, _networks(similarity, models), album)
    if models is not None:
        raise InputError("models are the networks of a Similarity: here they are given already")
    networks = as_classifiers(similarity)
    return SimilarityExplorer(measured(networks, album.images, **options), networks, album)


class SimilarityExplorer(Kept):
    """A linked atlas; see `vizkit.widgets.explore_similarity`.

    Attributes
    ----------
    similarity : Similarity
        What is shown.
    canvas : AtlasCanvas
        The picture; its traits ``row`` and ``column`` say which pair is chosen.
    photo : Dropdown
        Whose maps are shown.
    progress : FloatProgress
        Of slow work.
    cancel : Button
        Stops it.
    """

    def __init__(
        self, similarity: Similarity, networks: Sequence[Classifier], album: Album
    ) -> None:
        self.similarity = similarity
        self._networks = {each.name: each for each in networks}
        self._album = album
        atlas = atlas_scene(similarity)
        self.canvas = AtlasCanvas(atlas=atlas.meta, matrix=atlas.data)
        self._work = Work(Events(self._step, self._failed, self._finished))
        self.photo = labelled("Photo", [(n, n) for n in album.names], album.names[0], "17em")
        self._waiting = Waiting()
        self.progress, self.cancel = self._waiting.progress, self._waiting.cancel
        self._show(album.names[0], self._maps(album.names[0], lambda *_: None))
        super().__init__([row([self.photo, self.progress, self.cancel]), self.canvas])
        self.add_class("vizkit-explorer")
        self.photo.observe(self._changed, "value")
        self.cancel.on_click(lambda _button: self._stop())

    def _title(self) -> str:
        return f"Similarity: {', '.join(self.similarity.models)}"

    def _changed(self, change: Any) -> None:
        name = change["new"]
        self.canvas.message = ""
        if name == self._shown:
            # its maps are here, and no others are wanted any more
            self._work.cancel()
            return
        self.canvas.busy = "working"
        self._waiting.show(True)
        self._work.start(lambda step: self._maps(name, step), lambda scene: self._show(name, scene))

    def _stop(self) -> None:
        if self._work.cancel():
            self._failed("Cancelled.")

    def _maps(self, photo: str, step: Step) -> Scene:
        """Run the networks; in a thread of its own."""
        labels = self.similarity.labels
        maps = {}
        for n, (name, classifier) in enumerate(self._networks.items()):
            step(f"running {name}", n / len(self._networks))
            taps = list(labels.loc[labels["model"] == name, "tap"])
            maps[name] = capture(classifier, self._album[photo], taps)
        return tap_scene(labels, maps)

    def _show(self, photo: str, scene: Scene) -> None:
        self._shown = photo
        with surely(self.canvas.hold_sync()):
            self.canvas.scene, self.canvas.scene_data = scene.meta, scene.data

    def _step(self, text: str, share: float) -> None:
        self.canvas.busy = text
        self.progress.value = share

    def _failed(self, words: str) -> None:
        """Tell why there are no other maps, and have the field say whose these are."""
        self.photo.value = self._shown
        self.canvas.message = f"{words}\nThe maps are still those of {self.canvas.scene['image']}."

    def _finished(self) -> None:
        if not self._work.busy:
            self.canvas.busy = ""
            self._waiting.show(False)


def _networks(similarity: Similarity, models: Any) -> list[Classifier]:
    """Find the networks of a similarity: those given, else those that load by name, else none."""
    if models is not None:
        found = as_classifiers(models)
        missing = [each.name for each in found if each.name not in similarity.models]
        if missing:
            raise unknown("model", missing[0], similarity.models)
        return found
    found = []
    for name in similarity.models:
        try:
            found.append(load(name))
        except VizkitError:
            # its maps are shown as not there
            continue
    return found
