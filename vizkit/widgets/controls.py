"""The fields around the canvas: what is looked at. No network runs here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ipywidgets as ipw

from vizkit.attribution import METHODS
from vizkit.interrupts import undivided
from vizkit.widgets.looking import READ_AT
from vizkit.widgets.upload import Upload

MOST_MODELS = 4
NONE = ""
_DESCRIBED = {"description_width": "auto"}


class Controls:
    """The fields, and what they say.

    Attributes
    ----------
    models : tuple of Dropdown
        Up to four networks.
    another : Text
        The name of one that is not listed.
    photo, method, read_at : Dropdown
        Which photo, which attribution, and where networks are read.
    path : Text
        A photo or folder to add.
    upload : Upload
        Photos from the reader's own machine.
    target : Combobox
        The class explained; empty for the most probable.
    patches : Button
        Asks for what excites each channel most.
    waiting : Waiting
        A bar and a button.
    progress : FloatProgress
        The bar: of slow work.
    cancel : Button
        The button: stops it.
    """

    def __init__(self, models: Sequence[str], chosen: Sequence[str], photos: Sequence[str]) -> None:
        listed = [("\N{EM DASH}", NONE), *((name, name) for name in models)]
        numbers = range(MOST_MODELS)
        slots = [*chosen, *[NONE] * (MOST_MODELS - len(chosen))]
        self.models = tuple(labelled(f"Model {n + 1}", listed, slots[n], "16em") for n in numbers)
        self.another = _text("Other model", "a timm or torchvision name", "20em")
        self.photo = labelled("Photo", [(name, name) for name in photos], photos[0], "15em")
        self.path = _text("Path", "a photo or a folder", "17em")
        self.upload = Upload()
        self.target = ipw.Combobox(
            value="",
            placeholder="most probable; type to search",
            description="Class",
            continuous_update=False,
            style=_DESCRIBED,
            layout=ipw.Layout(width="21em"),
        )
        methods = [(f"{each.label} ({each.level})", name) for name, each in METHODS.items()]
        self.method = labelled("Attribution", methods, "grad_cam", "22em")
        self.read_at = labelled("Read at", [(n, n) for n in READ_AT], "stages", "19em")
        self.patches = ipw.Button(
            description="Find top patches",
            tooltip="Search all photos for what excites each channel most",
            layout=ipw.Layout(width="auto"),
        )
        self.waiting = Waiting()
        self.progress, self.cancel = self.waiting.progress, self.waiting.cancel
        self.quiet = False

    @property
    def questions(self) -> tuple[ipw.Widget, ...]:
        """The fields whose values make up a question."""
        return (*self.models, self.photo, self.target, self.method, self.read_at)

    @property
    def slots(self) -> tuple[str, ...]:
        """What the menus of networks say: names, or `NONE`."""
        return tuple(each.value for each in self.models)

    @undivided
    def changing(self) -> Iterator[None]:
        """Change fields without asking anything by it."""
        before, self.quiet = self.quiet, True
        try:
            yield
        finally:
            self.quiet = before

    def box(self) -> ipw.Box:
        """Lay the fields out, in as many rows as there is need for."""
        fields = (
            *self.models,
            self.another,
            self.photo,
            self.path,
            self.upload,
            self.target,
            self.method,
            self.read_at,
            self.patches,
            self.progress,
            self.cancel,
        )
        return row(fields)

    def offer_model(self, name: str) -> None:
        """List another network, and choose it: in the first free place, or the last."""
        with self.changing():
            for each in self.models:
                if name not in {value for _, value in each.options}:
                    each.options, each.value = (*each.options, (name, name)), each.value
            free = [each for each in self.models if each.value == NONE] or [self.models[-1]]
            free[0].value = name

    def list_models(self, names: Sequence[str], slots: Sequence[str]) -> None:
        """List only these networks, and say which are chosen."""
        options = (("\N{EM DASH}", NONE), *((name, name) for name in names))
        with self.changing():
            for each, name in zip(self.models, slots, strict=True):
                if each.options != options:
                    each.options = options
                each.value = name

    def offer_photos(self, names: Sequence[str], chosen: str) -> None:
        """List photos, and choose one."""
        with self.changing():
            self.photo.options = [(name, name) for name in names]
            self.photo.value = chosen

    def offer_classes(self, names: Sequence[str]) -> None:
        """List the classes that can be searched."""
        if tuple(names) != self.target.options:
            with self.changing():
                self.target.options = tuple(names)

    def show_busy(self, busy: bool) -> None:
        """Show the bar and the button that stops, or hide them."""
        self.waiting.show(busy)
        # what is searched for depends on what is shown
        self.patches.disabled = busy


class Waiting:
    """A bar for slow work, and a button that stops it; they keep their place when hidden.

    Attributes
    ----------
    progress : FloatProgress
        The bar.
    cancel : Button
        The button.
    """

    def __init__(self) -> None:
        self.progress = ipw.FloatProgress(
            value=0.0, max=1.0, description="Done", style=_DESCRIBED, layout=_hidden("11em")
        )
        self.cancel = ipw.Button(description="Cancel", disabled=True, layout=_hidden("auto"))

    def show(self, busy: bool) -> None:
        """Show both, or hide them."""
        self.cancel.disabled = not busy
        if not busy:
            self.progress.value = 0.0
        for each in (self.progress, self.cancel):
            each.layout.visibility = "visible" if busy else "hidden"


def row(fields: Sequence[ipw.Widget]) -> ipw.Box:
    """Lay fields out beside each other, in as many rows as there is need for.

    Parameters
    ----------
    fields : sequence of Widget
        In order.

    Returns
    -------
    Box
        It needs the styles of the canvas.
    """
    box = ipw.Box(fields, layout=ipw.Layout(flex_flow="row wrap", overflow="visible"))
    box.add_class("vk-fields")
    return box


def labelled(words: str, options: Sequence[Any], value: str, width: str) -> ipw.Dropdown:
    """Make a menu with its name beside it.

    Parameters
    ----------
    words : str
        Its name.
    options : sequence of (str, str)
        What is shown, and what it means.
    value : str
        What is chosen.
    width : str
        Of name and menu together, in CSS.

    Returns
    -------
    Dropdown
        The menu.
    """
    return ipw.Dropdown(
        options=options,
        value=value,
        description=words,
        style=_DESCRIBED,
        layout=ipw.Layout(width=width),
    )


def _text(words: str, hint: str, width: str) -> ipw.Text:
    return ipw.Text(
        description=words,
        placeholder=hint,
        continuous_update=False,
        style=_DESCRIBED,
        layout=ipw.Layout(width=width),
    )


def _hidden(width: str) -> ipw.Layout:
    return ipw.Layout(width=width, visibility="hidden")
