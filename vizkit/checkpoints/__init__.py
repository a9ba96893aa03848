"""Weights from a file into a network: safely, strictly, whichever library wrote them."""

from vizkit.checkpoints.contents import Checkpoint
from vizkit.checkpoints.fitting import fit
from vizkit.checkpoints.guarding import harm
from vizkit.checkpoints.layouts import translate
from vizkit.checkpoints.reading import read_checkpoint, read_state_dict

__all__ = ["Checkpoint", "fit", "harm", "read_checkpoint", "read_state_dict", "translate"]
