"""The command that measures: tables, JSON, pictures and the page."""

import json

import pytest
from commands import run

from vizkit.benchmarks import peers, read_record
from vizkit.benchmarks.rows import COLUMNS


def bench(*words):
    return run("bench", *words)


@pytest.fixture
def no_torchlens(monkeypatch):
    find = peers.find_spec
    monkeypatch.setattr(peers, "find_spec", lambda name: None if "lens" in name else find(name))


@pytest.mark.usefixtures("no_torchlens")
def test_a_suite_as_table_file_and_picture(tmp_path):
    out, picture = tmp_path / "a.json", tmp_path / "a.png"
    code, said, progress = bench(
        "capture", "-m", "demo/vgg11", "--runs", 1, "--out", out, "--picture", picture,
        "--theme", "dark",
    )  # fmt: skip
    assert code == 0, progress
    assert "1 of 1: capture, demo/vgg11" in progress
    assert "capture, demo/vgg11" in said
    assert "error: wrong values, of" in said
    line = next(line for line in said.splitlines() if "hooks without clone()" in line)
    assert line.endswith("NO")
    assert "torchlens is not installed and is left out: pip install 'vizkit[bench]'" in progress
    assert "torchlens" not in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    record = read_record(out)
    assert {row["suite"] for row in record.rows} == {"capture"}
    code, said, _ = bench("page", out, "--out", tmp_path / "page.md")
    assert (code, said.strip()) == (0, str(tmp_path / "page.md"))
    assert "## Feature maps" in (tmp_path / "page.md").read_text()


def test_several_suites_as_json_with_a_picture_each(tmp_path):
    options = ("-m", "demo/vgg11,demo/vgg11_bn", "--runs", 1, "--json")
    code, said, progress = bench("passes,statistics", *options, "--picture", tmp_path / "a.svg")
    assert code == 0, progress
    rows = json.loads(said)
    assert all(tuple(row) == COLUMNS for row in rows)
    assert {row["model"] for row in rows} == {"demo/vgg11", "demo/vgg11_bn"}
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["a-passes.svg", "a-statistics.svg"]
    assert "left out" not in progress


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("capure",), "unknown suite 'capure'; did you mean 'capture'?"),
        (("capture,sped",), "unknown suite 'sped'"),
        (("capture,all",), "unknown suite 'all'"),
        (("",), "unknown suite ''"),
        (("capture", "a.json"), "capture reads no files such as a.json"),
        (("page",), "page takes the files that --out wrote"),
        (("page", "none.json"), "page takes the files that --out wrote"),
        (("page", "none.json", "--out", "x.md"), "cannot read none.json"),
        (("capture", "--runs", "0"), "runs must be"),
        (("capture", "--picture", "a.gif"), "unknown figure format 'gif'"),
        (("capture", "--out", "no/such/a.json"), "no such folder"),
    ],
)
def test_bad_input_is_one_line(words, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, said, error = bench(*words)
    assert code == 2
    assert said == ""
    assert message in error
    assert error.startswith("vizkit: ")
    assert not list(tmp_path.iterdir())
