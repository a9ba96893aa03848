"""What a result came from: hashes of weights and photos, transforms, versions, options."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.files import replacing, unfit
from vizkit.images import Images, Photo
from vizkit.models import DEFAULT, Classifier

# fewer photos are hashed before anybody wonders
_MANY = 5000
VERSIONS = ("vizkit", "torch", "torchvision", "timm", "captum", "matplotlib", "numpy", "pillow")


def write_manifest(
    folder: Path,
    what: str,
    options: dict[str, Any],
    classifiers: Sequence[Classifier],
    images: Images,
    files: Sequence[Path] | None = None,
    *,
    more: dict[str, Any] | None = None,
    sources: Path | None = None,
    bundled: bool = False,
) -> Path:
    """Write ``manifest.json`` into a folder that holds results.

    Parameters
    ----------
    folder : Path
        Where it goes.
    what : str
        What made it.
    options : dict
        What it was told.
    classifiers : sequence of Classifier
        Whose weights and transforms are recorded.
    images : Images
        Whose hashes are recorded, as far as they can be read.
    files : sequence of Path, optional
        Results in the folder that are listed with their hashes; by default all but hidden ones.
    more : dict, optional
        Further facts.
    sources : Path, optional
        Where the folder will be: models' recipes and photos' places, seen from there, are recorded
        too, so that the results can be made again.
    bundled : bool
        Whether the photos are those that come with vizkit.

    Returns
    -------
    Path
        The file.
    """
    target = folder / "manifest.json"
    manifest = {
        "what": what,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in VERSIONS},
        "options": options,
        "models": [
            {
                "name": each.name,
                "source": each.source,
                "sha256": weights_hash(each.module),
                "transform": transform_words(each.transform),
                "device": str(each.device),
            }
            | ({} if sources is None else {"recipe": _recipe(each, sources)})
            for each in classifiers
        ],
        "images": [
            _identity(photo)
            | ({} if sources is None else {"path": _seen_from(photo.path, sources)})
            for photo in tqdm(images, desc="hashes", unit="image", disable=len(images) < _MANY)
        ],
        "files": {
            path.relative_to(folder).as_posix(): file_hash(path)
            for path in (_visible(folder) if files is None else files)
            if path != target
        },
        **(more or {}),
    }
    if sources is not None:
        manifest["bundled photos"] = bundled
    with replacing(target) as partial:
        partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return target


def _identity(photo: Photo) -> dict[str, str | None]:
    return {"name": photo.name, "sha256": photo_hash(photo)}


def _recipe(classifier: Classifier, folder: Path) -> dict[str, Any] | None:
    """How a network can be loaded again; a file of weights as seen from a folder."""
    recipe = classifier.recipe
    if recipe is None or recipe["weights"] in (None, DEFAULT):
        return recipe
    return {**recipe, "weights": _seen_from(Path(recipe["weights"]), folder), "file": True}


def _seen_from(path: Path | None, folder: Path) -> str | None:
    """Write a path as seen from a folder, so that both can be moved together.

    As it is: JSON keeps bytes that are not UTF-8, too.
    """
    if path is None:
        return None
    own = path.resolve()
    try:
        return Path(os.path.relpath(own, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return own.as_posix()


def _visible(folder: Path) -> list[Path]:
    """List every file in a folder but hidden ones."""
    files = sorted(folder.rglob("*"))
    return [path for path in files if path.is_file() and path.name[0] != "."]


def fingerprint(images: Images) -> str:
    """Tell images apart without reading them: by name, size and date; by pixels in memory.

    Parameters
    ----------
    images : Images
        Any number.

    Returns
    -------
    str
        Sixteen hexadecimal digits.
    """
    return short_hash([part for photo in images for part in (photo.name, _size_and_date(photo))])


def short_hash(parts: Sequence[str]) -> str:
    """Hash some words, which need not be valid text: sixteen hexadecimal digits."""
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _size_and_date(photo: Photo) -> str:
    if photo.path is None:
        return photo_hash(photo)
    try:
        facts = photo.path.stat()
    except OSError:
        return "missing"
    return f"{facts.st_size} {facts.st_mtime_ns}"


def weights_hash(module: nn.Module) -> str:
    """Hash a network's parameters and buffers, with their names.

    Parameters
    ----------
    module : nn.Module
        Any network.

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def photo_hash(photo: Photo) -> str:
    """Hash a photo's file, or its pixels if it comes from none; empty if it cannot be read."""
    if photo.path is not None:
        try:
            # a pipe could be read once at most
            return "" if unfit(photo.path) else file_hash(photo.path)
        except OSError:
            return ""
    pixels = photo.rgb.tobytes() if photo.tensor is None else _bytes(photo.tensor)
    return hashlib.sha256(pixels).hexdigest()


def transform_words(transform: object) -> str:
    """Describe a transform by all that it is told, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(transform))


def file_hash(path: Path) -> str:
    """Hash a file: SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    # NumPy does not know every type that torch does
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
