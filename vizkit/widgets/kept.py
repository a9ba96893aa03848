"""What all explorers can do with their picture: wait for it, and keep it."""

from __future__ import annotations

from pathlib import Path

import anywidget
import ipywidgets as ipw

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

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the picture shows what the fields say.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        TimeoutError
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
        return write_page(Path(path), self.canvas, self._title())

    def _title(self) -> str:
        """Say what is shown, for the head of the page."""
        raise NotImplementedError
