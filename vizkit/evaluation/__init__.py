"""How often networks are right on a folder of labelled photos, and whether they know."""

from vizkit.evaluation.measuring import evaluate, evaluated

__all__ = ["evaluate", "evaluated"]
