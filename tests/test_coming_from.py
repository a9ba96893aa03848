"""The page for those who come from other libraries: every line of vizkit's on it runs."""

import re
import shlex
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import typer
from huggingface_hub import constants
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights

import vizkit
from vizkit.cli import app

PAGE = Path(__file__).parents[1] / "notebooks" / "coming_from.md"
VOVNET = "ese_vovnet19b_dw.ra_in1k"
# small networks in place of those whose weights fill half a gigabyte
SMALL = {
    "vgg19.tv_in1k": VOVNET,
    "torchvision/vgg11": "torchvision/resnet18",
    "mmpretrain/vgg11_8xb32_in1k": "demo/vgg11",
}
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = sorted(
    {
        command
        for command in re.findall(r"`([^`\n]*vizkit [a-z][^`\n]*)`", PAGE.read_text("utf-8"))
        if not command.startswith("python")
    }
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos, caches with weights, and a checkpoint, as the page calls them."""
    root = tmp_path_factory.mktemp("page")
    (root / "photos").mkdir()
    for name, photo in vizkit.samples().items():
        photo.save(root / "photos" / f"{name}.jpg")
    photo.save(root / "photo.jpg")
    torch.manual_seed(0)
    network = timm.create_model(VOVNET.partition(".")[0])
    hub = timm.get_pretrained_cfg(VOVNET).hf_hub_id
    snapshot = root / "hub" / f"models--{hub.replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    weights = torchvision.models.resnet18().state_dict()
    cached = root / "torch" / "checkpoints" / Path(ResNet18_Weights.DEFAULT.url).name
    cached.parent.mkdir(parents=True)
    torch.save(weights, cached)
    torch.save({"state_dict": weights}, root / "epoch_100.pth")
    return root


@pytest.mark.parametrize("block", BLOCKS, ids=lambda text: text.split("\n")[0][:60])
def test_its_code_runs(block, place, monkeypatch):
    for module in (constants, __import__("huggingface_hub.file_download").file_download):
        if hasattr(module, "HF_HUB_CACHE"):
            monkeypatch.setattr(module, "HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(place / "torch"))
    monkeypatch.chdir(place)
    for name, small in SMALL.items():
        block = block.replace(name, small)
    exec(compile(block, str(PAGE), "exec"), {"vizkit": vizkit, "torch": torch})


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_have_these_options(command):
    words = [word for word in shlex.split(command) if word != "..."]
    name, *options = words[words.index("vizkit") + 1 :]
    found = typer.main.get_command(app).get_command(None, name)
    given = {word for word in options if word.startswith("-")}
    known = {each for option in found.params for each in (*option.opts, *option.secondary_opts)}
    assert given <= known
    if "..." not in command:
        # all that is needed is given, and nothing that is not known
        found.make_context(name, options)


def test_the_page_has_both():
    assert len(BLOCKS) >= 10
    assert len(COMMANDS) >= 14
