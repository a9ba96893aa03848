"""The demo family's commands still do what they did when its weights were made."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from vizkit import zoo
from vizkit.training import Recipe, read_recipe, train


def as_it_was(data, arch, phases, rate, seed, workers):
    """The algorithm as published, in one piece and with torchvision's own reading of folders."""
    torch.manual_seed(seed)
    crop = [transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    folder = ImageFolder(data)
    net = zoo.build(arch, len(folder.classes)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
    )
    mean, std = (torch.tensor(zoo.CONFIG[k]).mul(255).view(1, 3, 1, 1) for k in ("mean", "std"))
    sizes = [size for size, epochs in phases for _ in range(epochs)]
    steps = math.ceil(len(folder) / 8)
    for epoch, size in enumerate(sizes):
        torch.manual_seed(seed * 100_003 + epoch)
        resized = transforms.RandomResizedCrop(size, scale=(0.35, 1.0))
        folder.transform = transforms.Compose([resized, *crop])
        loader = DataLoader(folder, 8, shuffle=True, num_workers=workers)
        for step, (pixels, labels) in enumerate(loader, epoch * steps):
            cosine = 0.5 * (1 + math.cos(math.pi * step / (len(sizes) * steps)))
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / steps) * cosine
            inputs = pixels.float().sub_(mean).div_(std)
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(inputs.contiguous(memory_format=torch.channels_last)).float()
            loss = functional.cross_entropy(logits, labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    return net.state_dict()


@pytest.mark.parametrize(("arch", "workers"), [("vgg11_bn", 1), ("vgg11", 0), ("vovnet19b", 0)])
def test_bit_for_bit(photos, tmp_path, arch, workers):
    phases = ((32, 1), (40, 1))
    recipe = Recipe(f"demo/{arch}", phases=phases, batch_size=8, learning_rate=1e-3, seed=5)
    train(recipe, photos / "train", tmp_path, workers=workers, device="cpu")
    ours = torch.load(tmp_path / "last.pth", weights_only=True)["model"]
    theirs = as_it_was(photos / "train", arch, phases, 1e-3, 5, workers)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_demo_recipe_is_what_a_recipe_is_without_more_words():
    assert read_recipe("demo") == Recipe("demo/vgg11_bn", batch_size=32)
