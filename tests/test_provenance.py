"""Where a result came from, in numbers that anyone can check."""

import hashlib
import json
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.images import Photo, Transform, as_images
from vizkit.provenance import (
    file_hash,
    photo_hash,
    transform_words,
    weights_hash,
    write_manifest,
)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def a_net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def test_hash_of_a_file_and_of_photos(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 4), (1, 2, 3)).save(path)
    assert file_hash(path) == photo_hash(Photo("a", path=path)) == sha(path.read_bytes())
    pixels = np.full((4, 5, 3), (1, 2, 3), dtype=np.uint8)
    (inside,) = as_images(pixels)
    assert photo_hash(inside) == sha(pixels.tobytes())
    (tensor,) = as_images(torch.arange(12.0).reshape(3, 2, 2))
    assert photo_hash(tensor) == sha(np.arange(12, dtype=np.float32).tobytes())
    assert photo_hash(Photo("gone", path=tmp_path / "gone.png")) == ""
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        (tensor,) = as_images(torch.ones(3, 2, 2, dtype=dtype))
        assert len(photo_hash(tensor)) == 64


def test_hash_of_weights_sees_values_names_types_and_shapes():
    net = a_net()
    first = weights_hash(net)
    assert first == weights_hash(a_net())
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    assert first == digest.hexdigest()
    found = {first, weights_hash(a_net(1)), weights_hash(nn.Sequential(*a_net(), nn.Identity()))}
    assert len(found) == 2
    net[1].running_mean[2] += 1e-6
    assert weights_hash(net) != first
    assert weights_hash(a_net().double()) != first
    assert len(weights_hash(a_net().bfloat16())) == 64
    turned = a_net().to(memory_format=torch.channels_last)
    assert weights_hash(turned) == first


def test_a_transform_in_words_tells_all_and_nothing_of_the_moment():
    first, second = Transform(), Transform(mean=(0.5, 0.5, 0.5))
    assert str(first) == str(second)
    assert transform_words(first) != transform_words(second)
    assert "0.485" in transform_words(first)
    words = transform_words(lambda image: image)
    assert "lambda" in words
    assert "0x" not in words


def test_a_manifest_can_be_checked(tmp_path):
    out, photos = tmp_path / "out", tmp_path / "photos"
    (out / "deep").mkdir(parents=True)
    photos.mkdir()
    (out / "a.csv").write_text("x\n1\n")
    (out / "deep" / "b.txt").write_text("ä")
    (out / ".state").write_text("not a result")
    Image.new("RGB", (5, 4)).save(photos / "ä b.png")
    model = vizkit.wrap(a_net(), name="net", transform=Transform())
    for _ in range(2):  # the second time there is a manifest already
        path = write_manifest(out, "a test", {"k": [1, None]}, [model], as_images(photos))
        manifest = json.loads(path.read_text(encoding="utf-8"))
        assert manifest["files"] == {
            name: sha((out / name).read_bytes()) for name in ("a.csv", "deep/b.txt")
        }
    assert path == out / "manifest.json"
    assert sorted(p.name for p in out.iterdir()) == [".state", "a.csv", "deep", "manifest.json"]
    assert manifest["what"] == "a test"
    assert manifest["options"] == {"k": [1, None]}
    assert manifest["versions"]["torch"] == version("torch")
    assert manifest["images"] == [
        {"name": "ä b.png", "sha256": sha((photos / "ä b.png").read_bytes())}
    ]
    (entry,) = manifest["models"]
    assert entry["name"] == "net"
    assert entry["sha256"] == weights_hash(model.module)
    assert entry["transform"] == transform_words(model.transform)
    assert entry["device"] == "cpu"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_files_of_any_size(tmp_path, size):
    path = tmp_path / "x"
    path.write_bytes(b"\x01" * size)
    assert file_hash(path) == sha(b"\x01" * size)
