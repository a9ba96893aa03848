"""A self-contained folder that shows what models do with images: page, figures, tables."""

from vizkit.reports.rebuilding import rebuild_report
from vizkit.reports.writing import report

__all__ = ["rebuild_report", "report"]
