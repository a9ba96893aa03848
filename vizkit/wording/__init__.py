"""From the tables of a comparison to sentences: what differs most, and what a design changes."""

from vizkit.wording.changes import changes
from vizkit.wording.contrasts import Contrast, contrasts, effects, measures
from vizkit.wording.findings import findings
from vizkit.wording.telling import Finding

__all__ = ["Contrast", "Finding", "changes", "contrasts", "effects", "findings", "measures"]
