"""Train a classifier on a folder of folders, from nothing or from trained weights.

Data flow: ``photos -> random crops -> network -> log.csv, last.pth -> model.safetensors``.
A run that is stopped continues from its last finished epoch and ends with the same weights as
one that was not: every epoch draws its random numbers from ``(seed, epoch)`` alone.
"""

from vizkit.training.recipe import Recipe
from vizkit.training.recipe_files import list_recipes, read_recipe, recipe_names, write_recipe
from vizkit.training.run import train
from vizkit.training.saving import save_weights

__all__ = [
    "Recipe",
    "list_recipes",
    "read_recipe",
    "recipe_names",
    "save_weights",
    "train",
    "write_recipe",
]
