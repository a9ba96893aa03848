"""Records: as files and back, with nothing private, and refused where they are not ours."""

import getpass
import json
import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest

import vizkit
from vizkit.benchmarks import benchmark, machine, read_record, write_record
from vizkit.benchmarks.rows import COLUMNS
from vizkit.errors import InputError


@pytest.fixture(scope="module")
def record():
    return benchmark(vizkit.load("demo/vgg11", device="cpu"), "passes", runs=1)


@pytest.fixture
def file(record, tmp_path):
    return write_record(record, tmp_path / "a.json")


def test_a_record_comes_back(record, file):
    assert read_record(file) == record


def test_the_file_says_all_that_a_reader_needs(file):
    facts = json.loads(file.read_text())
    assert facts["what"] == "vizkit bench"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["date"])
    assert (facts["runs"], facts["threads"]) == (1, 1)
    assert facts["versions"]["vizkit"] == vizkit.__version__
    assert {"torch", "captum", "timm"} <= set(facts["versions"])
    assert facts["machine"]["cores"] >= 1
    assert facts["machine"]["processor"]
    assert all(tuple(row) == COLUMNS for row in facts["rows"])


def test_the_file_names_no_host_user_or_place(file):
    text = file.read_text()
    for private in (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        words = re.findall(r"[\w./-]+", text)
        assert private not in words
    assert "/" not in text.replace("demo/vgg11", "")


def test_a_machine_without_cpuinfo_or_sysconf(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")

    def no_such_name(_name):
        raise ValueError

    monkeypatch.setattr(machine.os, "sysconf", no_such_name)
    facts = machine.machine()
    assert facts["processor"]
    assert facts["memory_gb"] is None
    assert "GB" not in machine.machine_words(facts)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts.pop("what"), "it does not say that it is"),
        (lambda facts: facts.update(format=2), "its format is 2, not 1"),
        (lambda facts: facts.update(rows={}), "rows is missing or of another kind"),
        (lambda facts: facts["rows"][0].pop("ratio"), "a row has other columns"),
        (lambda facts: facts["rows"][0].update(ratio="1"), "ratio of a row is '1'"),
        (lambda facts: facts["rows"][0].update(ratio=True), "ratio of a row is True"),
        (lambda facts: facts["rows"][1].update(correct=1), "correct of a row is 1"),
        (lambda facts: facts["rows"][1].update(tool=None), "tool of a row is None"),
        (lambda facts: facts["rows"].append(3), "a row has other columns"),
    ],
)
def test_other_files_are_refused(file, change, words):
    facts = json.loads(file.read_text())
    change(facts)
    file.write_text(json.dumps(facts))
    with pytest.raises(InputError) as error:
        read_record(file)
    assert words in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_record(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text("[1")
    with pytest.raises(InputError, match="cannot read"):
        read_record(broken)
    broken.write_text("[1]")
    with pytest.raises(InputError, match="does not say"):
        read_record(broken)


def test_what_is_no_number_is_never_written(record, tmp_path):
    rows = [{**record.rows[0], "ratio": float("nan")}]
    with pytest.raises(ValueError, match="JSON"):
        write_record(replace(record, rows=rows), tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
