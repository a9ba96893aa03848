"""Everything public that runs a network, on networks and photos so small that it takes no time."""

import dataclasses
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.attribution import METHODS
from vizkit.checkpoints import read_checkpoint
from vizkit.evaluation import evaluated
from vizkit.images import Transform
from vizkit.interrupts import surely
from vizkit.profiling import count
from vizkit.speed import measure, throughput
from vizkit.stages import find_stages, trace
from vizkit.training import saving

SIZE = 16
QUICK = {"n_masks": 2, "n_samples": 2, "n_steps": 4}


class Scene:
    """Two networks in training, photos in folders of classes, and a folder to write into.

    The first network has an in-place layer, a hook, gradients and a frozen weight of its user.
    """

    def __init__(self, folder):
        torch.manual_seed(0)
        self.nets = [a_net(4).train(), a_net(6).train()]
        first = self.nets[0]
        first(torch.randn(4, 3, SIZE, SIZE)).square().sum().backward()
        first.norm.eval()
        first.conv.weight.requires_grad_(False)
        first.conv.register_forward_hook(lambda *_: None)
        view = Transform(size=(SIZE, SIZE), resize=(SIZE, SIZE))
        self.models = [
            vizkit.wrap(net, name=name, transform=view, classes=["ant", "bee", "cat"])
            for net, name in zip(self.nets, ("small", "large"), strict=True)
        ]
        self.model = self.models[0]
        self.inputs = torch.rand(2, 3, SIZE, SIZE)
        self.photos = folder / "photos"
        noise = np.random.default_rng(0)
        for label in self.model.classes:
            (self.photos / label).mkdir(parents=True)
            for n in range(2):
                pixels = noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(self.photos / label / f"{n}.png")
        self.out = folder / "out"
        self.checkpoint = folder / "weights.pth"
        torch.save({"state_dict": first.state_dict(), "optimizer": {}}, self.checkpoint)
        self.maps = vizkit.attribute(self.model, self.inputs)

    def clean(self):
        """Empty the folder to write into."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def written(self):
        """Read all files that are complete, by their names."""
        files = [each for each in self.out.rglob("[!.]*") if each.is_file()]
        return {each.name: each.read_bytes() for each in files}


def a_net(width):
    """A chain of layers, as relevance propagation needs it; some work in place."""
    layers = {
        "conv": nn.Conv2d(3, width, 3, padding=1),
        "norm": nn.BatchNorm2d(width),
        "act": nn.ReLU(inplace=True),
        "pool": nn.MaxPool2d(2),
        "second": nn.Conv2d(width, width, 3, padding=1),
        "last": nn.ReLU(inplace=True),
        "mean": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "drop": nn.Dropout(),
        "head": nn.Linear(width, 3),
    }
    return nn.Sequential(OrderedDict(layers))


def attributing(name):
    options = {key: value for key, value in QUICK.items() if key in METHODS[name].options}
    options |= {"window": 8, "stride": 8} if name == "occlusion" else {}
    return lambda s: vizkit.attribute(s.model, s.inputs, name, [0, 1], **options)


def described_again(scene):
    vizkit.describe(scene.model, scene.photos, "all", batch_size=4, out=scene.out)
    return vizkit.describe(
        scene.model, scene.photos, "all", batch_size=4, out=scene.out, resume=True
    )


def loaded(_scene):
    # a network is made of random numbers, before it gets its weights
    with surely(torch.random.fork_rng()):
        return vizkit.load("demo/vovnet19b", device="cpu").stages


def saved(scene):
    saving.save_state(scene.out / "last.pth", {"model": scene.nets[0].state_dict()})
    return saving.load_state(scene.out / "last.pth", torch.device("cpu"), ["model"])


# what may take long is asked for little of it
OPERATIONS = {
    "capture": lambda s: vizkit.capture(s.model, s.inputs),
    "capture photos": lambda s: vizkit.capture(s.model, s.photos, "layers"),
    **{f"attribute {name}": attributing(name) for name in METHODS},
    "describe": lambda s: vizkit.describe(s.models, s.photos),
    "similarity": lambda s: vizkit.similarity(s.models, s.photos, bootstrap=2),
    "compare": lambda s: vizkit.compare(s.models, s.inputs),
    "embed": lambda s: vizkit.embed(s.model, s.inputs),
    "embed maps": lambda s: vizkit.embed(s.model, s.inputs, pool=False),
    "embeddings": lambda s: vizkit.embeddings(s.model, s.photos),
    "predict": lambda s: vizkit.predict(s.model, s.photos),
    "neighbours": lambda s: vizkit.neighbours(s.models, s.photos, k=2),
    "receptive_fields": lambda s: vizkit.receptive_fields(s.model, s.photos),
    "linear_probe": lambda s: vizkit.linear_probe(s.model, s.photos, folds=2),
    "evaluate": lambda s: vizkit.evaluate(s.models, s.photos),
    "find_stages": lambda s: find_stages(s.nets[1], "layers"),
    "wrap": lambda s: vizkit.wrap(s.nets[0], transform=s.model.transform),
    "trace": lambda s: len(trace(s.nets[0], (SIZE, SIZE))),
    "profile": lambda s: vizkit.profile(s.model),
    "count": lambda s: count(s.nets[0], (SIZE, SIZE)),
    "fold_batch_norm": lambda s: vizkit.fold_batch_norm(s.model).module.state_dict(),
    "load": loaded,
    "read a checkpoint": lambda s: read_checkpoint(s.checkpoint).state,
    "save a checkpoint": saved,
    "export_attributions": lambda s: vizkit.export_attributions(
        s.models, s.inputs, s.out, pictures=False
    ),
    # times differ from run to run
    "measure": lambda s: len(measure(s.models, runs=1, batch=1)),
    "throughput": lambda s: len(
        throughput(s.model, batches=[1], precisions=["float32"], runs=1, memory=False)
    ),
}
# what takes longer: many passes, a figure, or a process of its own that reads photos
LONGER = {
    "describe all": lambda s: vizkit.describe(s.model, s.photos, "all", "layers", batch_size=4),
    "describe into a folder": described_again,
    "compare photos": lambda s: vizkit.compare(s.models, s.photos, same_pixels=True),
    "disagreement": lambda s: vizkit.disagreement(s.models, s.photos),
    "top_patches": lambda s: vizkit.top_patches(s.models, s.photos, "stages", k=2),
    "faithfulness": lambda s: vizkit.faithfulness(s.model, s.inputs, s.maps, steps=2),
    "perturbation_curves": lambda s: vizkit.perturbation_curves(s.model, s.maps, steps=2),
    "randomisation": lambda s: vizkit.randomisation(s.model, s.inputs),
    "describe with a reader": lambda s: vizkit.describe(s.model, s.photos, batch_size=2, workers=1),
    "evaluate into a folder": lambda s: evaluated(s.models, s.photos, out=s.out),
    "show_attributions": lambda s: vizkit.show_attributions(s.models, s.inputs).table,
}


def facts(value):
    """Turn a result into what can be compared, to the last bit."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_json(double_precision=15)
    if isinstance(value, Mapping):
        return {str(key): facts(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value):
        return {f.name: facts(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [facts(each) for each in value]
    return value.name if isinstance(value, Path) else str(value)
