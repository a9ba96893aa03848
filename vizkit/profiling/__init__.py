"""What networks cost: by stage, as pages count it, and of many models at once."""

from vizkit.profiling.counting import Counts, count
from vizkit.profiling.listed import count_listed
from vizkit.profiling.pages import CONVENTIONS, model_table
from vizkit.profiling.stagewise import profile

__all__ = ["CONVENTIONS", "Counts", "count", "count_listed", "model_table", "profile"]
