"""Written statistics come back as they were, and can be drawn."""

import json

import pandas as pd
import pytest

import vizkit
from vizkit.errors import InputError
from vizkit.plots import plot_statistics


def test_written_statistics_come_back(demo, tmp_path):
    found = vizkit.describe(demo, vizkit.samples(), "all", at="layers", out=tmp_path)
    again = vizkit.read_statistics(tmp_path)
    for name in ("frame", "channels", "distributions", "failed"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(found, name), check_dtype=False)
    assert (again.images, again.units, again.sampling) == (
        found.images,
        found.units,
        found.sampling,
    )
    assert plot_statistics(again, "all").save(tmp_path / "a.png").read_bytes() == (
        plot_statistics(found, "all").save(tmp_path / "b.png").read_bytes()
    )


def test_tables_that_are_not_needed_may_be_missing(demo, tmp_path):
    found = vizkit.describe(demo, vizkit.samples(), out=tmp_path)
    for name in ("channels", "distributions", "failed"):
        (tmp_path / f"{name}.parquet").unlink()
    again = vizkit.read_statistics(tmp_path)
    pd.testing.assert_frame_equal(again.frame, found.frame)
    assert again.channels.empty


@pytest.mark.parametrize("damage", ["missing", "manifest", "parquet", "options"])
def test_what_cannot_be_read_is_one_clear_error(demo, tmp_path, damage):
    vizkit.describe(demo, vizkit.samples()["rocket"], "mean", out=tmp_path)
    if damage == "missing":
        (tmp_path / "statistics.parquet").unlink()
    elif damage == "manifest":
        (tmp_path / "manifest.json").write_text("{")
    elif damage == "parquet":
        (tmp_path / "statistics.parquet").write_bytes(b"PAR1 no")
    else:
        (tmp_path / "manifest.json").write_text(json.dumps({"options": []}))
    with pytest.raises(InputError, match="has no statistics that can be read"):
        vizkit.read_statistics(tmp_path)


def test_another_number_of_processes_is_refused(demo, tmp_path):
    (tmp_path / ".state-0-of-2.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="holds a run of 2 process"):
        vizkit.describe(demo, vizkit.samples()["rocket"], "mean", out=tmp_path, resume=True)
