"""A report folder on its way: figures and tables as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from vizkit.plots import Picture
from vizkit.reports.page import Shown


class Draft:
    """A folder that figures and tables are written to.

    Parameters
    ----------
    folder : Path
        Empty.
    quick : bool
        Whether figures are drawn once, as light bitmaps alone.
    """

    def __init__(self, folder: Path, *, quick: bool = False) -> None:
        self.folder = folder
        self.quick = quick
        self._figures = 0
        (folder / "figures").mkdir()
        (folder / "tables").mkdir()

    def figure(
        self, name: str, caption: str, draw: Callable[..., Picture], group: str = ""
    ) -> Shown:
        """Draw a figure in both themes, as bitmap and, in the light one, as vectors.

        Parameters
        ----------
        name : str
            File name without ending.
        caption : str
            What it shows, with scale and sample size.
        draw : callable
            Takes ``theme``.
        group : str
            What it folds away under.

        Returns
        -------
        Shown
            For the page.
        """
        figures = self.folder / "figures"
        light = draw(theme="light")
        light.save(figures / f"{name}.png")
        self._figures += 1
        if not self.quick:
            light.save(figures / f"{name}.pdf")
            draw(theme="dark").save(figures / f"{name}-dark.png")
        return Shown(name, self._figures, caption, group)

    def table(self, name: str, frame: pd.DataFrame) -> str:
        """Write a table as CSV, with all digits; return the file's name."""
        frame.to_csv(self.folder / "tables" / f"{name}.csv", index=False)
        return f"{name}.csv"
