"""What all explorers can do with their picture: wait for it, and keep it."""

from __future__ import annotations

from pathlib import Path

import anywidget
import ipywidgets as ipw

from vizkit.errors import path_of
from vizkit.widgets.page import write_page
from vizkit.widgets.work import Work


class Kept(ipw.VBox):  # type: ignore[misc]
    """An explorer of one picture, which work in the background brings up to date.

    Attributes
    ----------
    canvas : AnyWidget
        The picture.
    """

    canvas: anywidget.AnyWidget
    _work: Work

    def close(self) -> None:
        """Stop what is going on, and take the widget away with all that it is made of."""
        # a widget is closed even if it could not be made
        if hasattr(self, "_work"):
            self._work.cancel()
        for part in _parts(self):
            part.close()
        super().close()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the picture shows what the fields say.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        BusyError
            If it takes longer.
        """
        self._work.wait(timeout)

    def save_html(self, path: str | Path) -> Path:
        """Write what is shown as one page that needs no kernel and no network.

        Parameters
        ----------
        path : str or Path
            Replaced in one step; its folder must exist.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            If there is no such folder.
        """
        self.wait()
        return write_page(path_of("path", path), self.canvas, self._title())

    def _title(self) -> str:
        """Say what is shown, for the head of the page."""
        raise NotImplementedError


def _parts(widget: ipw.Widget) -> list[ipw.Widget]:
    """List the widgets that one is made of, which would stay in the kernel without it."""
    found: dict[int, ipw.Widget] = {}
    waiting = [widget]
    while waiting:
        # what is not synchronised is no widget, and may not be there any more when Python ends
        for value in waiting.pop().trait_values(sync=True).values():
            for each in value if isinstance(value, tuple | list) else (value,):
                if isinstance(each, ipw.Widget) and each is not widget and id(each) not in found:
                    found[id(each)] = each
                    waiting.append(each)
    return list(found.values())
