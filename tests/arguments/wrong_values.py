"""Values of every kind, most of which are wrong for any one argument; and what each takes."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch


class Anything:
    """No value that any function knows."""


VALUES = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "-1": -1,
    "5": 5,
    "2**62": 2**62,
    "10**30": 10**30,
    "10**6000": 10**6000,
    "3.7": 3.7,
    "nan": float("nan"),
    "inf": float("inf"),
    "1j": 1j,
    "numpy 2": np.int64(2),
    "numpy nan": np.float64("nan"),
    "''": "",
    "'x'": "x",
    "'cat'": "cat",
    "5000 letters": "y" * 5000,
    "nul": "a\0b",
    "bytes": b"x",
    "path": Path("nowhere/at/all"),
    "[]": [],
    "()": (),
    "[None]": [None],
    "[[]]": [[]],
    "['']": [""],
    "['x']": ["x"],
    "[-1]": [-1],
    "[3.5]": [3.5],
    "(1,)": (1,),
    "range": range(2),
    "{}": {},
    "{'a': 1}": {"a": 1},
    "set": {1, 2},
    "array": np.linspace(0, 1, 4),
    "objects": np.array([object(), None], dtype=object),
    "tensor": torch.ones(2, 2),
    "table": pd.DataFrame(),
    "object": object(),
    "class": Anything,
    "function": lambda *_args, **_options: None,
    "slice": slice(1),
    "...": ...,
}

NONE = {"None"}
FLAG = {"True", "False"}
# whole numbers from 1 up, and from 0
COUNT = {"5", "2**62", "numpy 2"}
SEED = COUNT | {"0"}
# numbers above zero, and such as a recipe writes
SIZE = {"5", "2**62", "10**30", "3.7", "numpy 2"}
RATE = {"5", "3.7"}
TEXT = {"''", "'x'", "'cat'", "5000 letters", "nul"}
LISTED = {"[]", "()", "['']", "['x']"}
PLACE = {"'x'", "'cat'", "path"}
# of a network of three classes, one of which is a cat
CLASS = NONE | {"0", "numpy 2", "'cat'"}

# by the name of an argument, which of the values it takes; those not named here take none
TAKES = {
    "against": CLASS,
    "bandwidth": SIZE,
    "batch_size": COUNT,
    "boxes": NONE | {"{}", "{'a': 1}"},
    "by_class": FLAG,
    "count": COUNT,
    "ema": FLAG,
    "figsize": NONE,
    "folds": {"numpy 2"},
    "k": COUNT,
    "labelled": FLAG,
    "labels": NONE,
    "maps": FLAG,
    "only_last": FLAG,
    "overlay": {"0"},
    "pattern": TEXT,
    "per_page": COUNT,
    "pictures": FLAG,
    "places": NONE | COUNT,
    "pool": FLAG,
    "published": FLAG,
    "queries": NONE,
    "quick": FLAG,
    "random_state": SEED,
    "randomised": FLAG,
    "references": FLAG,
    # without a folder there is nothing to go on with
    "resume": {"False"},
    "role": NONE,
    "rows": COUNT,
    "same_pixels": FLAG,
    "same_stage": FLAG,
    "seed": SEED,
    "speed": FLAG,
    "squash": FLAG,
    "stages": NONE,
    "statistics": NONE,
    "steps": {"5", "numpy 2"},
    "synsets": FLAG,
    "targets": CLASS | {"(1,)", "range"},
    "test": NONE,
    # no test size is known of the bundled networks
    "use_test_size": {"False"},
    "validate_every": COUNT,
    "val": NONE,
    "workers": NONE | {"0", "5", "numpy 2"},
}

# what is never tried: were it taken, the machine would start processes without end
NEVER = {"workers": {"2**62", "10**30", "10**6000"}}

# the same as above for arguments of one function
OF_ONE = {
    "describe.out": NONE | PLACE,
    "evaluate.out": NONE | PLACE,
    "evaluated.out": NONE | PLACE,
    "explore.images": NONE,
    "explore.models": NONE,
    "explore_similarity.images": NONE,
    "explore_similarity.models": NONE,
    "export_attributions.drawing": NONE | {"{}"},
    "export_attributions.out": PLACE,
    "load.classes": NONE | {"[]", "()"},
    "load.weights": NONE,
    "model_table.models": NONE,
    "profile.size": NONE,
    "read_recipe.changes": NONE | {"{}"},
    "rebuild_report.images": NONE,
    "rebuild_report.out": PLACE,
    "report.channels": COUNT,
    "report.images": NONE,
    "report.max_images": COUNT,
    "report.models": NONE,
    "report.out": PLACE,
    "report.scale": NONE,
    "show_comparison.channels": COUNT,
    "show_feature_maps.channels": COUNT | {"(1,)", "range"},
    "show_top_patches.channels": CLASS - {"'cat'"} | {"(1,)", "range"},
    "similarity.batch_size": COUNT - {"numpy 2"},
    "similarity.bootstrap": {"0", "5", "numpy 2"},
    "top_patches.channels": CLASS - {"'cat'"} | {"(1,)", "range"},
    "train.out": PLACE,
    "train.workers": {"0", "5", "numpy 2"},
    "wrap.classes": NONE | LISTED,
    "wrap.name": NONE | TEXT,
    **{f"Recipe.{name}": TEXT for name in ("arch", "weights", "start", "optimizer")},
    **{
        f"Recipe.{name}": RATE | {"0"}
        for name in (
            *("momentum", "weight_decay", "clip", "warmup_epochs", "warmup_rate", "min_rate"),
            *("mixup", "cutmix"),
        )
    },
    **{f"Recipe.{name}": RATE for name in ("learning_rate", "decay_epochs", "decay_rate")},
    **{f"Recipe.{name}": {"0"} for name in ("label_smoothing", "flip", "erase", "ema")},
    **{f"Recipe.{name}": FLAG for name in ("decay_all", "ema_warmup", "sync_bn")},
    **{f"Recipe.{name}": {"5"} for name in ("batch_size", "accumulate")},
    "Recipe.freeze": LISTED,
    "Recipe.magnitude": {"0", "5"},
    "Recipe.milestones": {"[]", "()", "(1,)"},
    "Recipe.optimizer_options": {"{}", "{'a': 1}"},
    "Recipe.seed": {"0", "5"},
}
