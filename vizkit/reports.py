"""A self-contained folder that shows what models do with images: page, figures, tables, manifest.

Everything is written to a temporary folder beside the target and moved there at the end, so
that a report is either complete or not there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from torch import Tensor, nn
from tqdm.auto import tqdm

from vizkit.attribution import attribute
from vizkit.errors import InputError
from vizkit.forward import capture
from vizkit.images import Images, as_images, readable, samples
from vizkit.models import Classifier, as_classifiers, list_models
from vizkit.plots import (
    Picture,
    plot_attributions,
    plot_feature_maps,
    plot_predictions,
    plot_profile,
    plot_statistics,
)
from vizkit.plots.style import check_scale
from vizkit.prediction import top
from vizkit.profiling import profile
from vizkit.provenance import write_manifest
from vizkit.statistics import describe

MODELS = ("demo/vgg11", "demo/vgg11_bn", "demo/vgg19", "demo/vgg19_bn", "demo/vovnet19b")
MAX_IMAGES = 8


@dataclass(frozen=True)
class Shown:
    """A figure of the page.

    Attributes
    ----------
    name : str
        File name without ending.
    caption : str
        What it shows, with scale and sample size.
    group : str
        Figures of one group fold away together; empty for figures always in view.
    """

    name: str
    caption: str
    group: str = ""


@dataclass
class Section:
    """A part of the page.

    Attributes
    ----------
    title, text : str
        Heading and lead.
    figures : list of Shown
        In order.
    table : DataFrame or None
        Printed below the figures.
    data : tuple of str
        CSV files with the numbers.
    """

    title: str
    text: str
    figures: list[Shown] = field(default_factory=list)
    table: pd.DataFrame | None = None
    data: tuple[str, ...] = ()

    @property
    def groups(self) -> list[tuple[str, list[Shown]]]:
        """The figures by group, in order."""
        return [(group, list(shown)) for group, shown in groupby(self.figures, lambda f: f.group)]


def report(
    models: str | nn.Module | Classifier | Sequence[Any] | dict[str, Any] | None = None,
    images: object = None,
    out: str | Path = "report",
    *,
    channels: int = 16,
    scale: str = "stage",
    max_images: int = MAX_IMAGES,
) -> Path:
    """Write a report on what models do with images.

    Parameters
    ----------
    models : model, list of models, or dict of str to model, optional
        By default five bundled ones: VGG 11 and 19 with and without batch normalisation, and
        VoVNet.
    images : path, folder, PIL image, array, tensor, Images, or a list of these, optional
        By default the bundled photos.
    out : str or Path
        Folder to write; an earlier report there is replaced, anything else is refused.
    channels : int
        Channels in each mosaic of feature maps.
    scale : "panel", "stage", "model" or "all"
        Colour scale of the feature maps.
    max_images : int
        How many images get pictures of their own; statistics are taken over all.

    Returns
    -------
    Path
        Of ``index.html``, which opens from disk and fetches nothing.

    Raises
    ------
    InputError
        If an option cannot be used, or ``out`` holds something that is not a report.
    """
    target = Path(out).expanduser()
    _check_target(target)
    check_scale(scale)
    if min(channels, max_images) < 1:
        raise InputError(
            f"channels and max_images must be at least 1, not {channels}, {max_images}"
        )
    classifiers = as_classifiers(list(MODELS) if models is None else models)
    photos = as_images(samples() if images is None else images)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft_folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        draft = _Draft(draft_folder, classifiers, photos, channels, scale, max_images)
        draft.write()
        draft_folder.chmod(0o755)
        _replace(target, draft_folder)
    finally:
        shutil.rmtree(draft_folder, ignore_errors=True)
    return target / "index.html"


class _Draft:
    """A report on its way: each step runs the networks, writes files and adds a section."""

    def __init__(
        self,
        folder: Path,
        classifiers: list[Classifier],
        images: Images,
        channels: int,
        scale: str,
        max_images: int,
    ) -> None:
        self.folder = folder
        self.classifiers = classifiers
        self.all_images = images
        self.images, failed = readable(images[:max_images])
        if not len(self.images):
            raise InputError(f"none of the images can be read: {'; '.join(failed.values())}")
        self.options: dict[str, Any] = {
            "channels": channels,
            "scale": scale,
            "max_images": max_images,
        }
        self.sections: list[Section] = []
        (folder / "figures").mkdir()
        (folder / "tables").mkdir()

    def write(self) -> None:
        """Run all steps and write the page and the manifest."""
        steps: list[tuple[str, Callable[[], Section]]] = [
            ("models", self._models),
            ("predictions", self._predictions),
            ("feature maps", self._maps),
            ("Grad-CAM", self._attributions),
            ("statistics", self._statistics),
            ("profile", self._profile),
        ]
        with tqdm(steps, desc="report") as bar:
            for name, step in bar:
                bar.set_postfix_str(name)
                self.sections.append(step())
        self._page()
        self._manifest()

    def _models(self) -> Section:
        known = list_models().set_index("name")
        rows = []
        for each in self.classifiers:
            facts: Any = known.loc[each.name] if each.name in known.index else {}
            rows.append(
                {
                    "model": each.name,
                    "weights": each.source,
                    "parameters": sum(p.numel() for p in each.module.parameters()),
                    "classes": len(each.classes),
                    "input": str(each.transform),
                    "stages": ", ".join(str(tap.stride) for tap in each.stages),
                    "top-1 %": facts.get("top1"),
                    "top-5 %": facts.get("top5"),
                    "measured on": facts.get("reference"),
                }
            )
        frame = pd.DataFrame(rows)
        return Section(
            "Models",
            "Every model sees the photos through its own transform. Stages are named by their "
            "stride: how many input pixels lie between neighbouring places of the map.",
            table=frame,
            data=(self._table("models", frame),),
        )

    def _predictions(self) -> Section:
        self.maps = [capture(each, self.images) for each in self.classifiers]
        frames = {maps.model: top(maps, 5) for maps in self.maps}
        shown = self._figure(
            "predictions",
            "The three most probable classes of each model, with their softmax probability.",
            partial(plot_predictions, frames, self.maps[0].seen),
        )
        table = pd.concat([frame.assign(model=name) for name, frame in frames.items()])
        text = f"What {len(self.classifiers)} models say about {len(self.images)} photos."
        if len(self.all_images) > len(self.images):
            text += f" Shown are the first {len(self.images)} of {len(self.all_images)}."
        if any(each.name.startswith("demo/") for each in self.classifiers):
            text += (
                " The bundled demo models know ten classes only. A photo of anything else, such "
                "as the bundled ones, forces them to choose among these ten: watch how sure they "
                "are, not whether they are right."
            )
        return Section("Predictions", text, [shown], data=(self._table("predictions", table),))

    def _maps(self) -> Section:
        figures = []
        for n, photo in enumerate(self.maps[0].seen.names):
            for maps in self.maps:
                one = maps.select(n)
                figures.append(
                    self._figure(
                        f"maps-{n + 1}-{_slug(maps.model)}",
                        f"{maps.model} on {photo}: up to {self.options['channels']} channels of "
                        f"each stage, those with the most energy; colour scale: "
                        f"{self.options['scale']}; input {maps.seen.transform}.",
                        partial(
                            plot_feature_maps,
                            one,
                            channels=self.options["channels"],
                            scale=self.options["scale"],
                        ),
                        photo,
                    )
                )
        table = pd.concat([maps.to_frame() for maps in self.maps])
        return Section(
            "Feature maps",
            "What each stage computes: the last map before the stride changes. Dark is zero, "
            "bright is a strong response; the scale is printed under each figure.",
            figures,
            data=(self._table("feature_maps", table),),
        )

    def _attributions(self) -> Section:
        targets = self._common_targets()
        found = [
            attribute(each, self.images, "grad_cam", targets if targets is not None else None)
            for each in self.classifiers
        ]
        figures = []
        for n, photo in enumerate(found[0].seen.names):
            one = [attributions.select(n) for attributions in found]
            figures.append(
                self._figure(
                    f"grad-cam-{n + 1}",
                    f"Grad-CAM on {photo}: every stage of every model, over the pixels that the "
                    "model saw. Each map has its own colour scale.",
                    partial(plot_attributions, one),
                )
            )
        same = (
            "All models explain the same class of a photo: the one most probable on average."
            if targets is not None
            else "Each model explains the class it predicts."
        )
        table = pd.concat([attributions.to_frame() for attributions in found])
        return Section(
            "Grad-CAM at every stage",
            f"Which places speak for a class (Selvaraju et al., arXiv:1610.02391). {same} Early "
            "stages answer with edges and textures, late ones with whole objects.",
            figures,
            data=(self._table("grad_cam", table),),
        )

    def _statistics(self) -> Section:
        stages = describe(self.classifiers, self.all_images)
        count = f"{stages.images} image{'s' if stages.images > 1 else ''}"
        figures = [
            self._figure(
                "statistics-stages",
                f"Statistics of every stage over {count}, all channels and places.",
                partial(plot_statistics, stages),
            )
        ]
        tables = [
            self._table("statistics_stages", stages.frame),
            self._table("statistics_channels", stages.channels),
        ]
        vggs = [each for each in self.classifiers if type(each.module).__name__ == "VGG"]
        if vggs:
            layers = describe(vggs, self.all_images, at="layers")
            figures.append(
                self._figure(
                    "statistics-layers",
                    f"The same of every VGG layer after its activation, over {count}.",
                    partial(plot_statistics, layers),
                )
            )
            tables.append(self._table("statistics_layers", layers.frame))
        text = (
            "How activations change with depth, with and without batch normalisation. A channel "
            f"is dead if it never exceeds zero on these {count}; few images make many such."
        )
        if len(stages.failed):
            tables.append(self._table("failed", stages.failed))
            names = ", ".join(Path(file).name for file in stages.failed["file"])
            text += f" Left out, because they cannot be read: {names}."
        return Section("Statistics against depth", text, figures, data=tuple(tables))

    def _profile(self) -> Section:
        frame = pd.concat([profile(each) for each in self.classifiers], ignore_index=True)
        shown = self._figure(
            "profile",
            "Where parameters, multiply-accumulates and activations lie, for one image at each "
            "model's own input size.",
            partial(plot_profile, frame),
        )
        return Section(
            "Profile",
            "GMACs: 1e9 multiply-accumulates of convolutions and linear layers (timm's "
            "convention). Activations: 1e6 outputs of these. Receptive field: theoretical, in "
            "input pixels.",
            [shown],
            table=frame,
            data=(self._table("profile", frame),),
        )

    def _common_targets(self) -> Tensor | None:
        """Find each image's most probable class on average, if all models share their classes."""
        if len({each.classes for each in self.classifiers}) > 1:
            return None
        shares = [maps.logits.float().softmax(dim=1).cpu() for maps in self.maps]
        total: Tensor = sum(shares[1:], shares[0])
        return total.argmax(dim=1)

    def _figure(
        self, name: str, caption: str, draw: Callable[..., Picture], group: str = ""
    ) -> Shown:
        figures = self.folder / "figures"
        light = draw(theme="light")
        light.save(figures / f"{name}.png")
        light.save(figures / f"{name}.pdf")
        draw(theme="dark").save(figures / f"{name}-dark.png")
        return Shown(name, caption, group)

    def _table(self, name: str, frame: pd.DataFrame) -> str:
        frame.to_csv(self.folder / "tables" / f"{name}.csv", index=False)
        return f"{name}.csv"

    def _page(self) -> None:
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        source = (files("vizkit") / "data" / "report.html.j2").read_text(encoding="utf-8")
        page = environment.from_string(source).render(
            sections=self.sections,
            models=[each.name for each in self.classifiers],
            count=len(self.all_images),
            slug=_slug,
            cell=_cell,
            version=version("vizkit"),
        )
        (self.folder / "index.html").write_text(page, encoding="utf-8")

    def _manifest(self) -> None:
        write_manifest(
            self.folder, "vizkit report", self.options, self.classifiers, self.all_images
        )


def _slug(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text).strip("-").lower()


def _cell(value: Any) -> str:
    """Format a table cell for reading; the CSV has all digits."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, float):
        return _cell(int(value)) if value.is_integer() else f"{value:.4g}"
    return str(value)


def _check_target(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target} is a file: choose a folder for the report")
    manifest = target / "manifest.json"
    ours = manifest.is_file() and '"vizkit report"' in manifest.read_text(encoding="utf-8")
    if any(target.iterdir()) and not ours:
        raise InputError(
            f"{target} holds other files than a report: choose an empty or a new folder"
        )


def _replace(target: Path, new: Path) -> None:
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.rename(old / "report")
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(target)
