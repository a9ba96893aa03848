"""The page of results."""

from dataclasses import replace

import pytest

import vizkit
from vizkit.benchmarks import benchmark, write_page
from vizkit.errors import InputError


@pytest.fixture(scope="module")
def record():
    models = [vizkit.load(name, device="cpu") for name in ("demo/vgg11", "demo/vgg11_bn")]
    return benchmark(models, ["passes", "similarity"], runs=1)


def lines_of(page, start):
    return [line for line in page.read_text().splitlines() if line.startswith(start)]


def test_a_page_has_every_suite_with_figures_and_tables(record, tmp_path):
    inside, elsewhere = tmp_path / "tables" / "a b.json", tmp_path.parent / "c.json"
    page = write_page([record], tmp_path / "page.md", [inside, elsewhere])
    assert lines_of(page, "All numbers") == ["All numbers: [a b.json](tables/a%20b.json)."]
    assert lines_of(page, "## ") == ["## Passes", "## Similarity"]
    assert lines_of(page, "### ") == ["### demo/vgg11", "### demo/vgg11_bn"] * 2
    cells = [line.split(" | ") for line in lines_of(page, "| ")]
    own = [line for line in cells if line[1] == "**vizkit**"]
    assert len(own) == 2 * (1 + 4)
    row = record.table.query("tool == 'vizkit' and suite == 'similarity'").iloc[0]
    shown = next(line for line in own if line[0] == "| CKA, all pairs of stages")
    assert shown[3] == f"**{row['ratio']:#.3g}**"
    assert shown[-1] == "yes |"
    for name in ("passes", "similarity"):
        for end in ("", "-dark"):
            file = tmp_path / "images" / f"benchmark-{name}{end}.png"
            assert file.read_bytes().startswith(b"\x89PNG")
            assert f"images/{file.name}" in page.read_text()
    note = "- stored maps, NumPy, CKA, all pairs of stages: the others are compared with it"
    assert note in lines_of(page, "-")


def test_the_last_record_counts(record, tmp_path):
    passes = [row for row in record.rows if row["suite"] == "passes"]
    rows = [{**row, "ratio": 77.7} for row in passes]
    later = replace(record, date="2030-01-01", rows=rows, missing=["torchlens"])
    page = write_page([record, later], tmp_path / "page.md")
    own = [line for line in lines_of(page, "| ") if "**vizkit**" in line]
    assert sum("**77.7**" in line for line in own) == 8
    assert len(own) == 10
    assert "Not measured: torchlens is not installed" in page.read_text()
    assert "2030-01-01: passes." in page.read_text()


@pytest.fixture
def rows(record):
    """Those of one suite and model, to change; rows 2 and 3 are vizkit's."""
    found = [dict(row) for row in record.rows if row["suite"] == "passes"][:5]
    assert [row["tool"] for row in found[2:4]] == ["vizkit"] * 2
    return found


def test_goals_stand_first(record, rows, tmp_path):
    rows[2] |= {"goal": "≤ 1.03x forward", "reached": 1.07, "met": False}
    rows[3] |= {"goal": "≤ 2x forward", "reached": 1.5, "met": True}
    page = write_page([replace(record, rows=rows)], tmp_path / "page.md")
    goals = page.read_text().partition("## Goals")[2].partition("## Passes")[0]
    assert "| ≤ 1.03x forward | 1.07 | **no** |" in goals
    assert "| ≤ 2x forward | 1.5 | yes |" in goals


def test_wrong_and_failed_rows_are_shown(record, rows, tmp_path):
    rows[2] |= {"correct": False, "error": 423363.0, "task": "a|b"}
    gone = dict.fromkeys(("milliseconds", "ms_low", "ms_high", "ratio", "low", "high", "error"))
    rows[3] |= gone | {"runs": 0, "correct": None, "note": "ValueError: no"}
    page = write_page([replace(record, rows=rows)], tmp_path / "page.md")
    assert any("| 423,363 | **no** |" in line for line in lines_of(page, "| a\\|b"))
    assert any(line.endswith("| – | – | – | 0 | – | – |") for line in lines_of(page, "| "))
    assert any("ValueError: no" in line for line in lines_of(page, "- "))


def test_nothing_measured(record, tmp_path):
    with pytest.raises(InputError, match="no rows"):
        write_page([replace(record, rows=[])], tmp_path / "page.md")
    assert not list(tmp_path.iterdir())
