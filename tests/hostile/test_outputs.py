"""What is written is whole or not there: full disks, closed folders, two at once, odd names."""

import ast
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import fuzzed

import vizkit
from vizkit.errors import InputError, VizkitError, WriteError
from vizkit.files import distinct, make_folder, replacing, slug
from vizkit.plots.paging import save_pages

ROOT = Path(vizkit.__file__).parent
WRITERS = {
    *("write_text", "write_bytes", "to_csv", "to_parquet", "savefig", "save_file"),
    *("savez", "savez_compressed", "torch.save", "np.save"),
}
# what is written elsewhere than into a file beside its place, and why that is as good
OTHERWISE = {
    "plots/paging.py": "pages are drawn in a folder beside their place, and moved there",
    "reports/draft.py": "a report is a folder, moved to its place as a whole",
    "reports/writing.py": "a report is a folder, moved to its place as a whole",
    "widgets/album.py": "a photo on its way into memory, in a folder that goes again",
    "speed/memory.py": "no file, but a switch of the system's",
    "exporting.py": "bytes in memory",
    "plots/style.py": "bytes in memory",
}


def written(tree):
    """Calls that write files, as long as they are not told to write beside their place."""
    inside = set()
    for node in ast.walk(tree):
        names = [
            getattr(getattr(i.context_expr, "func", None), "id", "")
            for i in getattr(node, "items", ())
        ]
        if "replacing" in names:
            inside |= {id(each) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in inside:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [
                a.value
                for a in node.args
                if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
            opened = name == "open" and any(
                set(mode) & set("wax+") and len(mode) < 4 for mode in modes
            )
            if {name, ast.unparse(node.func)} & WRITERS or opened:
                yield node.lineno, ast.unparse(node.func)


def test_everything_is_written_beside_its_place():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        calls = list(written(ast.parse(path.read_text(encoding="utf-8"))))
        if calls:
            found[path.relative_to(ROOT).as_posix()] = calls
    assert found.keys() <= OTHERWISE.keys(), {k: v for k, v in found.items() if k not in OTHERWISE}


# each writes its file, or files, into a folder; the first run succeeds, the second may not
WRITING = '''
import io, json, os, resource, sys, traceback
from pathlib import Path
import numpy as np, pandas as pd, torch
import vizkit
from vizkit import cli, zoo
from vizkit.files import replacing
from vizkit.plots.paging import save_pages
from vizkit.provenance import write_manifest
from vizkit.storing import save_state
from vizkit.training import Recipe, saving
from vizkit.training.recipe_files import write_recipe
from vizkit.images import as_images

torch.set_num_threads(1)
root = Path(sys.argv[1])
photos = root / "photos"
(photos / "church").mkdir(parents=True)
vizkit.samples()["rocket"].resize((64, 64)).save(photos / "church" / "a.png")
model = vizkit.load("demo/vgg11", device="cpu")
recipe = Recipe("demo/vgg11")
picture = vizkit.show_feature_maps(model, photos)
few = ("-k", 10, "-m", "demo/vgg11")
frame = pd.DataFrame(np.random.default_rng(0).random((3000, 3)), columns=list("abc"))


def command(*arguments):
    """Run one as a shell does."""
    sys.argv = ["vizkit", *map(str, arguments)]
    out, errors = io.StringIO(), io.StringIO()
    sys.stdout, sys.stderr = out, errors
    try:
        cli.main()
    except SystemExit as end:
        if end.code not in (None, 0):
            told = [line for line in errors.getvalue().splitlines() if line.startswith("vizkit:")]
            assert end.code == 2, (end.code, errors.getvalue())
            assert len(told) == 1, errors.getvalue()
            assert "Traceback" not in errors.getvalue()
            raise vizkit.errors.WriteError(told[0])
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def text(folder):
    with replacing(folder / "a.txt") as partial:
        partial.write_text("x" * 100_000)


writers = {
    "text": text,
    "sums": lambda folder: save_state(folder / "s", {"a": torch.zeros(9999)}, {}, {}),
    "state": lambda folder: saving.save_state(folder / "last.pth", {"a": torch.zeros(99999)}),
    "weights": lambda folder: saving.save_weights(model.module, folder / "w", recipe, ["a"]),
    "log": lambda folder: saving.write_log(folder / "log.csv", frame.to_dict("records")),
    "recipe": lambda folder: write_recipe(Recipe("x" * 9000), folder / "recipe.toml"),
    "manifest": lambda folder: write_manifest(
        folder, "a test", {"words": "x" * 9000}, [model], as_images(photos)
    ),
    "attributions": lambda folder: vizkit.export_attributions(
        model, photos, folder, stages=["stride1"], pictures=False
    ),
    "pictures": lambda folder: vizkit.export_attributions(
        model, photos, folder, stages=["stride32"]
    ),
    "statistics": lambda folder: vizkit.describe(model, photos, out=folder),
    "evaluation": lambda folder: vizkit.evaluate(model, photos, out=folder),
    "report": lambda folder: vizkit.report(
        model, photos, folder / "report",
        methods="grad_cam", quick=True, max_images=1, speed=False,
    ),
    "csv": lambda folder: command("predict", photos, *few, "--out", folder / "p.csv"),
    "json": lambda folder: command("predict", photos, *few, "--out", folder / "p.json"),
    "parquet": lambda folder: command("predict", photos, *few, "--out", folder / "p.parquet"),
    **{
        f"figure, {end}": lambda folder, end=end: picture.save(folder / f"f.{end}")
        for end in ("png", "pdf", "svg")
    },
    **{
        f"pages, {end}": lambda folder, end=end: save_pages([picture] * 2, folder / f"f.{end}")
        for end in ("png", "pdf", "svg")
    },
    "npy": lambda folder: command("embed", photos, *few[2:], "--out", folder / "e.npy"),
}


def content(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(kind, name, folder):
    """The second time, it fails in words; what was there stays, and nothing is left behind."""
    before = content(folder)
    try:
        writers[name](folder)
    except (vizkit.errors.WriteError, vizkit.InputError) as error:
        said = str(error)
        assert "annot" in said and str(root) in said, said
    except BaseException as error:
        traceback.print_exc()
        said = f"{type(error).__name__} {error}"
    else:
        said = "nothing"
    after = content(folder)
    lost = [str(p) for p in before if after.get(p) != before[p]]
    left = [str(p) for p in after if p not in before]
    # of several files, those before the one that failed are new
    print(json.dumps([kind, name, said.replace(str(root), "ROOT"), lost, left]), flush=True)


def full(name, folder, limit=300):
    writers[name](folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        refused("full", name, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
'''
FAILING = """
for name in writers:
    (root / name).mkdir()
    full(name, root / name)
if os.geteuid() == 0:
    os.setuid(65534)
    for name in writers:
        refused("closed", name, root / name)
"""


# these write several files, each of which is whole: the first of them may be there when one fails
SEVERAL = {"attributions", "pictures", "statistics", "evaluation", "npy"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each writer says where the disk is full, and where nobody may write."""
    root = tmp_path_factory.mktemp("outputs")
    for above in (root, *root.parents[:3]):
        above.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", WRITING + FAILING, str(root)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert rows, done.stderr
    return {(kind, name): rest for kind, name, *rest in rows}


NAMES = (
    *("text", "sums", "state", "weights", "log", "recipe", "manifest", "attributions", "pictures"),
    *("statistics", "evaluation", "report", "csv", "json", "parquet", "npy"),
    *(f"{what}, {end}" for what in ("figure", "pages") for end in ("png", "pdf", "svg")),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["full", "closed"])
def test_where_nothing_can_be_written_what_was_there_stays(kind, name, outcomes):
    if kind == "closed" and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    said, lost, left = outcomes[kind, name]
    words = {"full": ["File too large"], "closed": ["ermission denied", "cannot write into"]}
    assert any(each in said for each in words[kind])
    assert lost == []
    assert not any(".partial" in each for each in left)
    assert left == [] or name in SEVERAL


@pytest.fixture
def tiny(tmp_path):
    """A disk of its own, of forty kilobytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(tiny):
    path = tiny / "a.txt"
    path.write_text("older")
    with (
        pytest.raises(WriteError, match=r"cannot write .*a\.txt: No space left on device"),
        replacing(path) as partial,
    ):
        partial.write_text("x" * 100_000)
    assert [each.name for each in tiny.iterdir()] == ["a.txt"]
    assert path.read_text() == "older"
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"


def test_places_that_are_none(tmp_path, demo):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("x")
    places = {
        tmp_path / "folder.csv": "Is a directory",
        tmp_path / "file" / "a.csv": "Not a directory",
        tmp_path / "none" / "a.csv": "No such file or directory",
        tmp_path / ("a" * 300): "File name too long",
        Path("/proc/none/a.csv"): "No such file or directory",
    }
    for place, why in places.items():
        with pytest.raises(WriteError, match=why) as caught, replacing(place) as partial:
            partial.write_text("new")
        assert str(place) in str(caught.value)
        assert isinstance(caught.value, VizkitError)
        assert isinstance(caught.value, OSError)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.csv"]
    with pytest.raises(InputError, match=r"cannot make the folder .*: Not a directory"):
        make_folder(tmp_path / "file" / "a")
    with pytest.raises(InputError, match=r"file is a file"):
        vizkit.export_attributions(demo, vizkit.samples(), tmp_path / "file")


def fail(path, kind):
    with replacing(path) as partial:
        partial.write_text("x")
        raise kind


def test_mistakes_of_others_stay_what_they_are(tmp_path):
    for kind in (ValueError, InputError, KeyboardInterrupt, MemoryError):
        with pytest.raises(kind):
            fail(tmp_path / "a", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["a file", "a pipe", "nothing"])
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path, kind):
    target, link = tmp_path / "far" / "target.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    if kind == "a file":
        target.write_text("older")
    elif kind == "a pipe":
        os.mkfifo(target)
    link.symlink_to(target)
    with replacing(link) as partial:
        partial.write_text("newer")
    assert not link.is_symlink()
    assert link.read_text() == "newer"
    assert target.exists() == (kind != "nothing")
    assert target.is_fifo() or not target.exists() or target.read_text() == "older"


def test_what_went_wrong_earlier_is_no_reason(tmp_path):
    try:
        (tmp_path / "none").read_text()
    except OSError:
        with pytest.raises(ValueError, match="own"):
            fail(tmp_path / "a", ValueError("own"))


def test_what_was_hidden_on_purpose_is_no_reason(tmp_path):
    with pytest.raises(ValueError, match="own"), replacing(tmp_path / "a"):  # noqa: PT012
        try:
            (tmp_path / "none").read_text()
        except OSError:
            raise ValueError("own") from None


@pytest.mark.parametrize("end", ["pdf", "png"])
def test_what_goes_wrong_while_pages_are_drawn_is_not_the_file_s_fault(demo, tmp_path, end):
    def pages():
        yield vizkit.show_feature_maps(demo, vizkit.samples()["rocket"])
        (tmp_path / "none.jpg").read_bytes()

    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        save_pages(pages(), tmp_path / f"a.{end}")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_wraps_what_the_system_said_is_understood(tmp_path):
    with pytest.raises(WriteError, match=r"cannot write .*a: No such file"):  # noqa: PT012, SIM117
        with replacing(tmp_path / "a"):
            try:
                (tmp_path / "none").read_text()
            except OSError as error:
                raise ValueError("own") from error


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / f"{'ä' * 120}.txt"
    with replacing(path) as partial:
        partial.write_text("x")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_run_left_is_written_over(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from vizkit.files import replacing
with replacing(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name == ".a.txt.partial"
    with replacing(path) as partial:
        assert partial == left
        partial.write_text("whole")
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


TOGETHER = """
import sys
from pathlib import Path
from vizkit.files import replacing
path, letter = Path(sys.argv[1]), sys.argv[2]
for _ in range(300):
    with replacing(path) as partial, partial.open("w") as file:
        for _ in range(40):
            file.write(letter * 1000)
            file.flush()
"""


def test_two_runs_at_once_write_one_file_each_whole(tmp_path):
    path = tmp_path / "a.txt"
    runs = [subprocess.Popen([sys.executable, "-c", TOGETHER, str(path), each]) for each in "ab"]
    seen = set()
    while any(run.poll() is None for run in runs):
        if path.exists():
            text = path.read_text()
            assert len(text) == 40_000
            assert len(set(text)) == 1
            seen.add(text[0])
    assert [run.returncode for run in runs] == [0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert seen == {"a", "b"}, "else they did not write at once"


def test_reports_at_once_and_one_that_cannot_be_put_in_place(tmp_path, monkeypatch):
    from vizkit.reports import writing

    target = tmp_path / "report"
    whole = {"index.html", "tables", "figures"}
    errors = []

    def put(who):
        for n in range(100):
            new = tmp_path / f"new-{who}-{n}"
            new.mkdir()
            for name in whole:
                (new / name).write_text(who)
            try:
                writing._replace(target, new)
            except OSError as error:
                errors.append(error)

    runs = [threading.Thread(target=put, args=(who,)) for who in "ab"]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert {each.name for each in target.iterdir()} == whole
    assert len({each.read_text() for each in target.iterdir()}) == 1
    assert len(errors) < 100
    # the earlier report comes back if the new one cannot take its place
    with pytest.raises(OSError, match="No such file"):
        writing._replace(target, tmp_path / "gone")
    assert {each.name for each in target.iterdir()} == whole
    left = {each.name for each in tmp_path.iterdir() if not each.name.startswith("new-")}
    assert left == {"report"}


SLUGS = {
    "rocket": "rocket",
    "an old photo (2)": "an old photo (2)",
    "日本語 ümläut": "日本語 ümläut",
    "../../etc/passwd": "_.._etc_passwd",
    "..": "unnamed",
    "": "unnamed",
    ".hidden": "hidden",
    'a/b\\c:d*e?f"g<h>i|j': "a_b_c_d_e_f_g_h_i_j",
    "a\nb\x00c\u202ed": "a_nb_x00c_u202ed",
    "CON": "_CON",
    "nul.tar": "_nul.tar",
    "com1": "_com1",
    "end. . .": "end",
}


@pytest.mark.parametrize("name", SLUGS)
def test_names_become_names_of_files(name):
    assert slug(name) == SLUGS[name]


def test_any_text_becomes_a_name_that_stays_in_its_folder(tmp_path):
    @fuzzed(150)
    @given(st.text(max_size=400))
    def check(name):
        made = slug(name)
        assert Path(made).name == made
        assert made[0] not in ". "
        assert made[-1] not in ". "
        assert len(f"{made}-99999.npz".encode()) <= 255
        assert made.isprintable() or not name.isprintable()
        (tmp_path / made).touch()
        (tmp_path / made).unlink()

    check()
    assert slug("a" * 300) != slug("a" * 301)


def test_names_that_differ_in_case_only_stay_apart():
    names = ["a", "A", "b", "a", "a-2"]
    assert distinct(names, "{}-{}", str.casefold) == ["a", "A-2", "b", "a-3", "a-2-2"]


ODD = [
    "../../x",
    "/etc/x",
    "CON",
    "con",
    "a/b/c",
    ".",
    "..",
    "",
    "x" * 400,
    "日本語",
    "a\0b",
    "<b>",
    "$x$",
    "A",
    "a",
]


def test_files_of_odd_photos_and_models_stay_in_their_folder(tmp_path, demo):
    photo = vizkit.samples()["rocket"].resize((64, 64))
    photos = dict.fromkeys(ODD, photo)
    models = dict.fromkeys(("../../x", "/etc/y", "CON", "", "..", "z" * 300), demo)
    out = tmp_path / "deep" / "out"
    found = vizkit.export_attributions(models, photos, out, stages=["stride32"], pictures=False)
    assert len(set(found.files)) == len(ODD)
    assert {path.parent for path in found.files} == {out}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(found.files)
    with zipfile.ZipFile(found.files[0]) as archive:
        for name in archive.namelist():
            assert not name.startswith("/")
            assert ".." not in name.split("/")
    with np.load(found.files[0], allow_pickle=False) as arrays:
        assert len(arrays.files) == 5 * len(models)
