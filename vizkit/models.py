"""Networks by name, from a file, or the user's own, each with its transform, classes and stages."""

from __future__ import annotations

import fnmatch
import math
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from vizkit import checkpoints, zoo
from vizkit.errors import InputError, VizkitError, WeightsError, unknown
from vizkit.hooks import first_parameter
from vizkit.images import Transform
from vizkit.results import Tap
from vizkit.stages import find_stages

DEFAULT = "default"
REACH_SECONDS = 3.0


@dataclass(frozen=True, repr=False, eq=False)
class Classifier:
    """A network with everything needed to use and compare it.

    Attributes
    ----------
    name : str
        As given to `load`, or the module's class name.
    module : nn.Module
        The network itself; vizkit leaves it as it is.
    transform : callable
        From a PIL image to its (3, H, W) input; a `Transform` unless the user gave another.
    classes : tuple of str
        Names of the outputs; empty if unknown.
    stages : tuple of Tap
        Where each stride ends.
    source : str
        Where the weights come from, in words.
    recipe : dict of str to Any, or None
        What `load` was told, so that it can be loaded again; None for a given module.
    """

    name: str
    module: nn.Module
    transform: Callable[[Image.Image], Tensor]
    classes: tuple[str, ...]
    stages: tuple[Tap, ...]
    source: str
    recipe: dict[str, Any] | None = None

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        tensor = first_parameter(self.module)
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's parameters."""
        tensor = first_parameter(self.module)
        return torch.float32 if tensor is None else tensor.dtype

    def class_name(self, index: int) -> str:
        """Name of an output, or its number where names are unknown."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def class_index(self, name: str) -> int:
        """Find an output by its name, ignoring case where no name is the same to the letter.

        Raises
        ------
        InputError
            If no class has this name; the message suggests the nearest.
        """
        if name in self.classes:
            return self.classes.index(name)
        lowered = [each.lower() for each in self.classes]
        if name.lower() not in lowered:
            raise unknown("class", name, self.classes or ("(this model has no class names)",), 10)
        return lowered.index(name.lower())

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.module.parameters())
        stages = ", ".join(f"{tap.name} ({tap.channels})" for tap in self.stages)
        return (
            f"Classifier {self.name}: {count / 1e6:.2f} M parameters, {len(self.classes)} classes, "
            f"{self.transform}, {self.source}, {self.device}\n  stages: {stages}"
        )


def load(
    name: str,
    *,
    weights: str | Path | None = DEFAULT,
    device: str = "auto",
    classes: Sequence[str] | None = None,
) -> Classifier:
    """Load a classifier in evaluation mode.

    Parameters
    ----------
    name : str
        ``"demo/vgg16_bn"`` (bundled, offline), a timm name (``"vgg16_bn"``,
        ``"vgg19.tv_in1k"``, ``"ese_vovnet19b_dw"``) or ``"torchvision/vgg16_bn"``.
    weights : "default", None, or a path
        The pretrained weights, none (random), or a ``.pth`` or ``.safetensors`` file in timm's
        or torchvision's layout. Files are loaded strictly and never run code.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    classes : sequence of str, optional
        Names of the outputs; by default those of the weights (ImageNet-1k, or the demo's ten).
        Their number sets the width of an untrained or file-loaded model's last layer.

    Returns
    -------
    Classifier
        In evaluation mode.

    Raises
    ------
    InputError
        If the name or device is unknown.
    WeightsError
        If weights do not fit, or are neither cached nor reachable; the message says what to do.
    """
    family, _, short = name.rpartition("/")
    builders = {
        "": _load_timm,
        "timm": _load_timm,
        "torchvision": _load_torchvision,
        "demo": _load_demo,
    }
    if family not in builders:
        raise unknown("source", family, [key for key in builders if key])
    target = device_of(device)
    # weights made in the user's inference mode could never take part in a gradient
    with torch.inference_mode(mode=False):
        module, transform, default_classes, source = builders[family](short, weights, classes)
    module = module.to(target).eval()
    names = tuple(classes) if classes else default_classes
    path = weights if weights in (DEFAULT, None) else str(Path(weights).expanduser().resolve())
    recipe = {"name": name, "weights": path, "classes": list(classes) if classes else None}
    return replace(_classifier(name, module, transform, names, None, source), recipe=recipe)


def wrap(
    module: nn.Module,
    *,
    name: str | None = None,
    transform: Callable[[Image.Image], Tensor] | None = None,
    classes: Sequence[str] | None = None,
    stages: Sequence[str | Tap] | None = None,
) -> Classifier:
    """Make a `Classifier` of any network.

    Parameters
    ----------
    module : nn.Module
        Takes (N, 3, H, W), gives (N, K) logits. It is not changed and not moved.
    name : str, optional
        By default the class name.
    transform : callable, optional
        From a PIL image to a (3, H, W) tensor. By default what timm wrote into the module, or
        the usual 224 px, bilinear, ImageNet mean and standard deviation.
    classes : sequence of str, optional
        Names of the K outputs.
    stages : sequence of str or Tap, optional
        Module paths to use as stages; by default found.

    Returns
    -------
    Classifier
        Around the same module.

    Raises
    ------
    InputError
        If ``module`` is no network.
    """
    if isinstance(module, Classifier):
        return module
    if not isinstance(module, nn.Module):
        raise InputError(f"wrap takes an nn.Module, not {type(module).__name__}")
    config = getattr(module, "pretrained_cfg", None) or {}
    used = transform or (timm_transform(module) if config.get("input_size") else Transform())
    label = name or config.get("architecture") or type(module).__name__
    names = tuple(classes or ())
    return _classifier(label, module, used, names, stages, "given module")


def as_classifier(model: Any) -> Classifier:
    """Accept a name, a module or a classifier.

    Parameters
    ----------
    model : str, nn.Module or Classifier
        What vizkit's functions take as ``model``.

    Returns
    -------
    Classifier
        Loaded or wrapped where needed.
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, str):
        return load(model)
    if isinstance(model, nn.Module):
        return wrap(model)
    raise InputError(f"a model is a name, an nn.Module or a Classifier, not {type(model).__name__}")


def as_classifiers(models: Any) -> list[Classifier]:
    """Accept one model or several; names that occur twice are numbered.

    Parameters
    ----------
    models : model, list of models, or dict of str to model
        A dict gives the names under which they appear.

    Returns
    -------
    list of Classifier
        With distinct names.
    """
    if isinstance(models, dict):
        found = [_renamed(as_classifier(model), key) for key, model in models.items()]
    elif isinstance(models, str | nn.Module | Classifier):
        found = [as_classifier(models)]
    else:
        found = [as_classifier(model) for model in models]
    if not found:
        raise InputError("no models: the list is empty")
    counts: dict[str, int] = {}
    distinct = []
    for classifier in found:
        count = counts[classifier.name] = counts.get(classifier.name, 0) + 1
        again = f"{classifier.name} ({count})"
        distinct.append(classifier if count == 1 else _renamed(classifier, again))
    return distinct


def list_models(pattern: str = "*") -> pd.DataFrame:
    """List the models that `load` knows.

    Parameters
    ----------
    pattern : str
        Shell-style, matched against the whole name: ``"*vgg*"``, ``"demo/*"``.

    Returns
    -------
    DataFrame
        name, source (demo, timm, torchvision), bundled, params (number of parameters), top1
        and top5 (published, in percent, on ImageNet-1k or the demo's validation photos),
        input_size (pixels, at which they were measured), reference. NaN where nothing was
        published with the weights.
    """
    import timm

    published = _published().set_index("name")
    demo = [f"demo/{name}" for name in zoo.NAMES]
    rows = [*_torchvision_rows()]
    rows += [{"name": name, "source": "demo", "bundled": True} for name in demo]
    rows += [{"name": name, "source": "timm", "bundled": False} for name in timm.list_models()]
    frame = pd.DataFrame(rows).set_index("name")
    frame = frame.combine_first(published).reindex([*demo, *frame.index.drop(demo)])
    frame = frame.reset_index(names="name")
    kept = frame[[fnmatch.fnmatchcase(name, pattern) for name in frame["name"]]]
    columns = [
        "name",
        "source",
        "bundled",
        "params",
        "top1",
        "top5",
        "input_size",
        "reference",
    ]
    return kept[columns].reset_index(drop=True)


@cache
def _published() -> pd.DataFrame:
    with (files("vizkit") / "data" / "published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, comment="#")
    measured = pd.DataFrame(zoo.results())
    return pd.concat([table, measured], ignore_index=True)


def _torchvision_rows() -> list[dict[str, Any]]:
    from torchvision import models as tv

    rows = []
    for short in tv.list_models(module=tv):
        weights = tv.get_model_weights(short)
        chosen = getattr(weights, "DEFAULT", None)
        meta = chosen.meta if chosen else {}
        metrics = meta.get("_metrics", {}).get("ImageNet-1K", {})
        rows.append(
            {
                "name": f"torchvision/{short}",
                "source": "torchvision",
                "bundled": False,
                "params": meta.get("num_params", math.nan),
                "top1": metrics.get("acc@1", math.nan),
                "top5": metrics.get("acc@5", math.nan),
                "input_size": chosen.transforms().crop_size[0] if chosen else math.nan,
                "reference": f"torchvision, {chosen}" if chosen else None,
            }
        )
    return rows


def timm_transform(module: nn.Module) -> Transform:
    """Read a timm network's own preprocessing from its configuration.

    Parameters
    ----------
    module : nn.Module
        With a ``pretrained_cfg``.

    Returns
    -------
    Transform
        Its size, interpolation, crop, mean and standard deviation.
    """
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(module)
    _, height, width = config["input_size"]
    crop = config["crop_pct"]
    return Transform(
        size=(height, width),
        resize=(math.floor(height / crop), math.floor(width / crop)),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"] if config["interpolation"] != "random" else "bicubic",
        squash=config.get("crop_mode") == "squash",
    )


def imagenet_classes() -> tuple[str, ...]:
    """Return the 1000 ImageNet class names in output order, from torchvision, offline."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)


_Parts = tuple[nn.Module, Callable[[Image.Image], Tensor], tuple[str, ...], str]


def _load_demo(short: str, weights: str | Path | None, classes: Sequence[str] | None) -> _Parts:
    if short not in zoo.NAMES:
        raise unknown("demo model", short, zoo.NAMES)
    names = tuple(zoo.recipes()["classes"])
    if weights == DEFAULT:
        module = zoo.load(short)
        return module, timm_transform(module), names, "bundled weights"
    module = zoo.build(short, len(classes or names))
    source = _fill(module, weights)
    return module, timm_transform(module), names if not classes else (), source


def _load_timm(short: str, weights: str | Path | None, classes: Sequence[str] | None) -> _Parts:
    import timm

    if not timm.is_model(short):
        known = [*(f"demo/{name}" for name in zoo.NAMES), *timm.list_models()]
        raise unknown("model", short, known, 12)
    if weights == DEFAULT:
        config = timm.get_pretrained_cfg(short)
        if config is None or not (config.hf_hub_id or config.url or config.file):
            raise WeightsError(f"timm has no pretrained weights for {short!r}: use weights=None")
        _require_timm_weights(short, config)
        module = timm.create_model(short, pretrained=True)
        source = f"timm, {config.hf_hub_id or config.url}"
    else:
        count = {"num_classes": len(classes)} if classes else {}
        module = timm.create_model(short, pretrained=False, **count)
        source = _fill(module, weights)
    transform = timm_transform(module)
    names = imagenet_classes() if module.num_classes == 1000 else ()
    return module, transform, names, source


def _load_torchvision(
    short: str, weights: str | Path | None, classes: Sequence[str] | None
) -> _Parts:
    from torchvision import models as tv

    known = tv.list_models(module=tv)
    if short not in known:
        raise unknown("torchvision model", short, known, 12)
    published = tv.get_model_weights(short).DEFAULT
    if weights == DEFAULT:
        _require_torchvision_weights(short, published.url)
        module = tv.get_model(short, weights=published)
        source = f"torchvision, {published}"
    else:
        count = {"num_classes": len(classes)} if classes else {}
        module = tv.get_model(short, weights=None, **count)
        source = _fill(module, weights)
    preset = published.transforms()
    transform = Transform(
        size=(preset.crop_size[0],) * 2,
        resize=(preset.resize_size[0],) * 2,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
    names = tuple(published.meta["categories"]) if not classes else ()
    return module, transform, names, source


def _fill(module: nn.Module, weights: str | Path | None) -> str:
    if weights is None:
        return "untrained"
    path = Path(weights).expanduser()
    checkpoints.fit(module, checkpoints.read_state_dict(path), str(path))
    return f"weights from {path.name}"


def _require_timm_weights(short: str, config: Any) -> None:
    """Raise at once if weights are neither in the cache nor within reach."""
    from huggingface_hub import constants, try_to_load_from_cache

    if config.hf_hub_id:
        names = ("model.safetensors", "pytorch_model.bin")
        if any(isinstance(try_to_load_from_cache(config.hf_hub_id, n), str) for n in names):
            return
        url, folder = constants.ENDPOINT, constants.HF_HUB_CACHE
        blocked = constants.HF_HUB_OFFLINE
    else:
        _require_torchvision_weights(short, config.url)
        return
    if blocked or not reachable(url):
        raise _unreachable(short, folder)


def _require_torchvision_weights(short: str, url: str) -> None:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / Path(urlsplit(url).path).name).is_file() and not reachable(url):
        raise _unreachable(short, str(folder))


def _unreachable(short: str, folder: str) -> WeightsError:
    return WeightsError(
        f"the pretrained weights of {short!r} are not in the cache ({folder}) and their host "
        f"cannot be reached. Either copy the cache folder from a machine that has them, or use "
        f"load({short!r}, weights='file.pth' or '.safetensors'), load({short!r}, weights=None) "
        f"for an untrained network, or a bundled model such as load('demo/vgg16_bn')."
    )


def reachable(url: str, seconds: float = REACH_SECONDS) -> bool:
    """Whether a host answers, through a proxy where one is set, within a few seconds.

    Parameters
    ----------
    url : str
        Any address on the host.
    seconds : float
        How long to wait, name look-up included.

    Returns
    -------
    bool
        True if a connection was made.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
        except OSError:
            answers.append(False)
        else:
            answers.append(True)

    # a look-up of a name has no time limit of its own, so it waits in a thread
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


def _classifier(
    name: str,
    module: nn.Module,
    transform: Callable[[Image.Image], Tensor],
    classes: tuple[str, ...],
    stages: Sequence[str | Tap] | None,
    source: str,
) -> Classifier:
    draft = Classifier(name, module, transform, classes, (), source)
    where = "stages" if stages is None else list(stages)
    found = find_stages(_Unstaged(module, transform), where)
    return Classifier(name, module, draft.transform, classes, tuple(found), source)


@dataclass(frozen=True)
class _Unstaged:
    module: nn.Module
    transform: Callable[[Image.Image], Tensor]


def _renamed(classifier: Classifier, name: str) -> Classifier:
    return replace(classifier, name=name)


def device_of(device: str) -> torch.device:
    """Find a device by name.

    Parameters
    ----------
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Returns
    -------
    torch.device
        One that is there.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise unknown("device", device, ("auto", "cpu", "cuda", "cuda:0", "mps")) from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise VizkitError(f"device {device!r}: no CUDA GPU is available here; use 'cpu' or 'auto'")
    return chosen
