"""Photos from the reader's own machine, in pieces that every server lets through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vizkit.errors import InputError, VizkitError
from vizkit.files import printable
from vizkit.widgets.work import in_words

# bytes of one file
MOST = 100 << 20
_SCRIPT = Path(__file__).parent / "upload.js"


class StoppedError(VizkitError):
    """A piece that belongs to nothing: its upload was stopped."""


@dataclass(eq=False)
class Inbox:
    """One file on its way, piece after piece.

    Attributes
    ----------
    number : str
        Of the upload; the browser gives each another.
    name : str
        Of the file.
    size : int
        In bytes.
    """

    number: str = ""
    name: str = ""
    size: int = 0
    _content: bytearray = field(default_factory=bytearray)

    @property
    def share(self) -> float:
        """How much is here already, in [0, 1]."""
        return len(self._content) / self.size if self.size else 1.0

    def add(self, piece: bytes, number: str, name: str, size: int, start: int) -> bytes | None:
        """Take a piece, and return the whole file once it is here.

        Parameters
        ----------
        piece : bytes
            The next of the file.
        number, name, size
            As the attributes.
        start : int
            Where in the file the piece begins; 0 begins another upload.

        Returns
        -------
        bytes or None
            None while there is more to come.

        Raises
        ------
        InputError
            If the file is too large.
        StoppedError
            If the upload was stopped.
        """
        if start == 0:
            self._begin(number, name, size)
        if number != self.number or start != len(self._content):
            raise StoppedError(f"{printable(name)}: the upload was stopped")
        self._content += piece
        if len(self._content) < self.size:
            return None
        content = bytes(self._content)
        self.clear()
        return content

    def clear(self) -> bool:
        """Forget what is on its way; tell whether there was any."""
        underway = bool(self.number)
        self.number, self._content = "", bytearray()
        return underway

    def _begin(self, number: str, name: str, size: int) -> None:
        self.clear()
        if size > MOST:
            raise InputError(
                f"{printable(name)}: {size / 1e6:.0f} MB are too many to upload, the most are "
                f"{MOST / 1e6:.0f} MB; copy it to where the kernel runs and give its path"
            )
        self.number, self.name, self.size = number, printable(name), size


@dataclass(frozen=True)
class Receiver:
    """Whom an upload tells.

    Attributes
    ----------
    begun : callable
        Files that were chosen together begin to arrive.
    step : callable
        The file's name, and how much of it is here, in [0, 1].
    done : callable
        The file's name and content.
    failed : callable
        What went wrong, in words.
    """

    begun: Callable[[], None]
    step: Callable[[str, float], None]
    done: Callable[[str, bytes], None]
    failed: Callable[[str], None]


class Upload(anywidget.AnyWidget):
    """A button that sends photos in pieces; see `upload.js`.

    A server between browser and kernel closes the connection at messages of 10 MB, without a
    word: so no piece is larger than 1 MB, and each is answered before the next is sent.

    Attributes
    ----------
    description : str
        What stands on the button.
    """

    # a dynamic default, because saved states leave out what is a trait's constant default
    _esm = traitlets.Unicode().tag(sync=True)

    description = traitlets.Unicode("Upload a photo").tag(sync=True)

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._receiver: Receiver | None = None
        # files that were chosen together: what arrives, and what nobody wants any more
        self._selection: str | None = None
        self._unwanted: str | None = None
        super().__init__()
        self.on_msg(self._received)

    @traitlets.default("_esm")
    def _own_script(self) -> str:
        return _SCRIPT.read_text(encoding="utf-8")

    def tell(self, receiver: Receiver) -> None:
        """Say whom to tell."""
        self._receiver = receiver

    def cancel(self) -> bool:
        """Stop what is on its way, and what was chosen with it; tell whether there was any."""
        self._unwanted = self._selection
        return self._inbox.clear()

    def _received(self, _widget: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Answer one message, whatever comes of it: else the browser waits for ever."""
        answer = {"number": content.get("number"), "more": False, "stopped": False}
        try:
            self._select(content.get("selection"))
            answer["more"] = self._take(content, bytes(buffers[0]))
        except StoppedError:
            # whoever stopped it has said so
            answer["stopped"] = True
        except Exception as error:
            self._inbox.clear()
            if self._receiver is not None:
                self._receiver.failed(in_words(error))
        self.send(answer)

    def _select(self, selection: str | None) -> None:
        """Note which files were chosen together."""
        if selection is None:
            return
        if selection == self._unwanted:
            raise StoppedError("the upload was stopped")
        if selection != self._selection:
            self._selection = selection
            if self._receiver is not None:
                self._receiver.begun()

    def _take(self, content: dict[str, Any], piece: bytes) -> bool:
        """Take a piece; tell whether another is wanted."""
        keys = ("number", "name", "size", "start")
        whole = self._inbox.add(piece, *(content[key] for key in keys))
        if self._receiver is None:
            return whole is None
        if whole is None:
            self._receiver.step(self._inbox.name, self._inbox.share)
        else:
            self._receiver.done(str(content["name"]), whole)
        return whole is None
