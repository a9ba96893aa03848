"""Networks beside each other: on one stage axis, and where they part."""

from vizkit.comparing.parting import disagreement, disputed, explained
from vizkit.comparing.side_by_side import compare

__all__ = ["compare", "disagreement", "disputed", "explained"]
