"""Small networks and folders of photos that the tests of evaluation share."""

import numpy as np
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit import zoo
from vizkit.images import Transform
from vizkit.models import imagenet_classes

SMALL = Transform(size=(24, 24), resize=(24, 24))
ANIMALS = ("cat", "dog", "fox", "hen", "owl", "pig", "rat")


def a_net(seed=0, name="net", classes=ANIMALS, transform=SMALL):
    """A trained network's stand-in: random, but not the same for every photo."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.MaxPool2d(4), nn.Conv2d(8, 16, 3), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(256, len(classes)),
        )  # fmt: skip
        net[-1].weight.data *= 8
    return vizkit.wrap(net.eval(), name=name, transform=transform, classes=classes)


def photos(root, names=ANIMALS, count=26, seed=0):
    """Photos in class folders, and two files that are none."""
    generator = np.random.default_rng(seed)
    for i in range(count):
        folder = root / names[i % len(names)]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.normal(40 + 7 * i, 60, (30 + i, 34, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    for path in (root / names[0] / "00-bad.jpg", root / names[-1] / "10.jpg"):
        path.write_bytes(b"no image")
    return root


def a_thousand(short="vgg11_bn"):
    """The bundled network with 1000 outputs, the one cut out of it again, and the bundled one.

    Its rows of the ten classes are the trained ones; the others are mixtures of these, so that
    they win now and then.
    """
    names, ten = imagenet_classes(), vizkit.load(f"demo/{short}", device="cpu")
    where = [names.index(name) for name in ten.classes]
    trained, big = ten.module.state_dict(), zoo.build(short, 1000).eval()
    state = big.state_dict()
    generator = torch.Generator().manual_seed(0)
    for key, value in trained.items():
        if value.shape == state[key].shape:
            state[key].copy_(value)
            continue
        others = value[torch.randint(10, (1000,), generator=generator)]
        noise = torch.randn(others.shape, generator=generator)
        state[key].copy_(0.8 * others + 0.1 * value.std() * noise)
        state[key][where] = value
    cut = zoo.build(short, 10).eval()
    cut.load_state_dict({
        key: value if value.shape == own.shape else value[where]
        for (key, own), value in zip(cut.state_dict().items(), state.values(), strict=True)
    })  # fmt: skip
    return (
        vizkit.wrap(big, name="1000 outputs", classes=names),
        vizkit.wrap(cut, name="10 of them", classes=[names[n] for n in where]),
        ten,
    )
