"""An evaluation as a folder: tables, pictures, and a manifest of what they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vizkit.distributed import agree
from vizkit.evaluation.passing import Pass
from vizkit.files import replacing, writing
from vizkit.plots import plot_calibration, plot_confusion
from vizkit.provenance import write_manifest
from vizkit.results import Evaluation
from vizkit.storing import forget_states


def write_evaluation(found: Evaluation, run: Pass, folder: Path, theme: str = "light") -> None:
    """Write what came out, and take away what was stored on the way.

    Parameters
    ----------
    found : Evaluation
        What came out.
    run : Pass
        How.
    folder : Path
        Files in it with the same names are replaced.
    theme : "light" or "dark"
        Colours of the pictures.

    Raises
    ------
    WriteError
        If a file cannot be written; those before it, and what was stored on the way, stay.
    """
    if run.rank == 0:
        written = [*_tables(found, folder), *_pictures(found, folder, theme)]
        options = {key: value for key, value in run.facts.items() if key != "images"}
        options |= {"counted": found.images, "outputs": list(found.outputs.values())}
        write_manifest(folder, "vizkit evaluate", options, run.classifiers, run.images, written)
    # nobody forgets anything before all of it is written
    agree()
    if run.rank == 0:
        forget_states(folder)


def _tables(found: Evaluation, folder: Path) -> list[Path]:
    tables = {
        "summary": found.table(),
        "by_class": found.table(by_class=True),
        "predictions": found.predictions,
        "confusion": found.confusion(),
        "calibration": found.calibration(),
        "failed": found.failed,
    }
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv") as partial:
            table.to_csv(partial, index=False)
    return [folder / f"{name}.csv" for name in tables]


def _pictures(found: Evaluation, folder: Path, theme: str) -> list[Path]:
    # probabilities and predictions depend on it, so that the pictures must say it
    seen = {
        model: f"{words}, choosing among {found.outputs[model]} classes"
        for model, words in found.transforms.items()
    }
    told = replace(found, transforms=seen)
    pictures = {
        "calibration": plot_calibration(told, theme=theme),
        "confusion": plot_confusion(told, theme=theme),
    }
    with writing(folder):
        return [picture.save(folder / f"{name}.png") for name, picture in pictures.items()]
