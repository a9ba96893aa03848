"""Every public function with small arguments that are good; each may be replaced by a wrong one."""

import inspect
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.images import Transform

CLASSES = ("cat", "dog", "owl")
SMALL = Transform(size=(16, 16), resize=(16, 16))


def a_net(name="net", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 3),
        )  # fmt: skip
    return vizkit.wrap(net.eval(), name=name, transform=SMALL, classes=CLASSES)


def a_photo(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def class_folders(root):
    for n in range(6):
        folder = root / CLASSES[n % 3]
        folder.mkdir(parents=True, exist_ok=True)
        a_photo(n).save(folder / f"{n}.png")
    return root


class World:
    """What good calls are made of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.net, self.other = a_net(), a_net("other", 1)
        self.photo, self.folder = a_photo(), class_folders(root / "photos")
        self.two = [a_photo(), a_photo(1)]
        self.attributions = vizkit.attribute(self.net, self.two, ["grad_cam", "saliency"])
        self.table = root / "boxes.csv"
        self.table.write_text("file,x0,y0,x1,y1\n0.png,1,1,5,5\n")
        self.statistics = root / "statistics"
        vizkit.describe(self.net, self.two, out=self.statistics)
        made = vizkit.report(
            "demo/vgg11", [self.folder / "cat" / "0.png"], root / "made", quick=True, speed=False
        )
        self.manifest = made.with_name("manifest.json")
        self.recipe = vizkit.Recipe("demo/vgg11", phases=((32, 1),), batch_size=6)
        self.calls = self._calls()

    def _calls(self):
        net, photo, two, folder = self.net, self.photo, self.two, self.folder
        both = [net, self.other]
        judged = {"steps": 2, "references": False}
        return {
            "Recipe": {"arch": "demo/vgg11"},
            "Transform": {},
            "agreement": {"attributions": self.attributions, "size": 8},
            "attribute": {"model": net, "images": photo},
            "capture": {"model": net, "images": photo},
            "compare": {"models": both, "images": photo},
            "describe": {"models": net, "images": two, "statistics": "mean", "workers": 0},
            "disagreement": {"models": both, "images": folder, "workers": 0},
            "embed": {"model": net, "images": photo},
            "embeddings": {"model": net, "images": photo},
            "evaluate": {"model": net, "folder": folder, "workers": 0},
            "evaluated": {"model": net, "folder": folder, "workers": 0},
            "explore": {"models": net, "images": photo},
            "explore_similarity": {"similarity": net, "images": folder},
            "export_attributions": {"models": net, "images": photo, "out": self.root / "maps"},
            "faithfulness": {
                "model": net, "images": two, "attributions": self.attributions,
                "randomised": False, **judged,
            },
            "find_stages": {"model": net},
            "fold_batch_norm": {"model": net},
            "linear_probe": {"models": net, "folder": folder, "folds": 2, "workers": 0},
            "list_models": {"pattern": "demo/*"},
            "list_recipes": {},
            "load": {"name": "demo/vgg11"},
            "model_table": {"models": "vgg11"},
            "neighbours": {"models": net, "images": two, "k": 1},
            "perturbation_curves": {"model": net, "attributions": self.attributions, **judged},
            "predict": {"model": net, "images": photo},
            "profile": {"model": net},
            "randomisation": {"model": net, "images": photo, "only_last": True},
            "read_boxes": {"path": self.table},
            "read_recipe": {"source": "vgg11_8xb32_in1k"},
            "read_statistics": {"folder": self.statistics},
            "rebuild_report": {"manifest": self.manifest, "out": self.root / "again"},
            "receptive_fields": {"model": net, "images": two, "workers": 0},
            "report": {
                "models": net, "images": photo, "out": self.root / "report", "quick": True,
                "speed": False, "methods": "grad_cam",
            },
            "samples": {},
            "show_agreement": {"models": net, "images": photo, "methods": ["grad_cam", "saliency"]},
            "show_attributions": {"models": net, "images": photo},
            "show_comparison": {"models": both, "images": photo},
            "show_disagreement": {"models": both, "images": folder},
            "show_distributions": {"models": net, "images": two},
            "show_faithfulness": {"models": net, "images": photo},
            "show_feature_maps": {"model": net, "images": photo, "channels": 2},
            "show_linear_probe": {"models": net, "folder": folder, "folds": 2},
            "show_neighbours": {"models": net, "images": two, "k": 1},
            "show_randomisation": {"model": net, "image": photo, "methods": "saliency"},
            "show_receptive_fields": {"models": net, "images": photo},
            "show_similarity": {"models": net, "images": folder},
            "show_statistics": {"models": net, "images": photo, "statistics": "mean"},
            "show_top_patches": {
                "models": net, "folder": two, "at": "stages", "channels": 1, "k": 2,
            },
            "similarity": {"models": net, "images": folder, "workers": 0, "bootstrap": 0},
            "top_patches": {
                "model": net, "folder": two, "at": "stages", "channels": 1, "k": 2, "workers": 0,
            },
            "train": {
                "recipe": self.recipe, "data": folder, "out": self.root / "run", "workers": 0,
            },
            "wrap": {"module": net.module, "transform": SMALL},
        }  # fmt: skip


def arguments_of(function):
    """Names of the arguments of a function; of options that methods share, none."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind not in kinds]
