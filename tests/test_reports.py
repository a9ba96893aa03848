"""The report folder: complete, true, reproducible, safe to open."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
from PIL import Image

import vizkit
from vizkit.images import as_images
from vizkit.reports.study import spread

MODELS = ["demo/vgg11", "demo/vgg11_bn"]
NASTY = "<img src=x onerror=alert(1)>&$.png"
PLAIN = {"methods": "grad_cam", "max_images": 2, "speed": False}
QUICK = PLAIN | {"quick": True, "max_images": 1}


@pytest.fixture(scope="module")
def photos():
    found = vizkit.samples()
    return {
        "rocket": found["rocket"],
        NASTY: found["coffee"],
        "chelsea": found["chelsea"],
        "motorcycle": found["motorcycle"],
    }


@pytest.fixture(scope="module")
def page(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports") / "one"
    assert vizkit.report(MODELS, photos, out, **PLAIN) == out / "index.html"
    return out / "index.html"


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A folder with one folder a class, of which the answers to one are known."""
    root = tmp_path_factory.mktemp("classes") / "photos"
    for name, photo in vizkit.samples().items():
        folder = root / ("church" if name == "rocket" else "golf ball")
        folder.mkdir(parents=True, exist_ok=True)
        photo.save(folder / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def judged(classes):
    out = classes.parent / "report"
    return vizkit.report(MODELS, classes, out, methods="grad_cam", quick=True, max_images=1)


def test_every_file_the_page_names_is_there_and_nothing_else_is_fetched(page):
    text = page.read_text(encoding="utf-8")
    names = set(re.findall(r'(?:src|srcset|href)="([^"#]+)"', text))
    # an icon of nothing, so that browsers ask for none
    names.remove("data:,")
    assert names
    for name in names:
        assert not re.match(r"[a-z]+:|//", name), name
        assert (page.parent / name).is_file()
    assert "url(" not in text
    assert "@import" not in text


def test_text_from_files_is_escaped(page):
    text = page.read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;$.png" in text


def test_figures_come_as_png_and_pdf_in_two_themes(page):
    folder = page.parent / "figures"
    pngs = {p.stem for p in folder.glob("*.png") if not p.stem.endswith("-dark")}
    assert pngs == {p.stem for p in folder.glob("*.pdf")}
    assert {f"{stem}-dark" for stem in pngs} == {p.stem for p in folder.glob("*-dark.png")}
    assert pngs == {
        "predictions", "why-1", "why-2", "maps-1", "maps-2", "faithfulness", "statistics-stages",
        "twins", "statistics-layers", "distributions", "similarity", "disagreement", "disputed",
        "profile",
    }  # fmt: skip
    assert (folder / "profile.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(folder / "why-1.png") as figure:
        assert figure.size[0] > 800


def test_tables_are_the_library_s_numbers(page, photos):
    tables = page.parent / "tables"
    predictions = pd.read_csv(tables / "predictions.csv")
    # the photos with pictures of their own: the first and the last of four
    expected = vizkit.predict("demo/vgg11_bn", {n: photos[n] for n in ("rocket", "motorcycle")})
    mine = predictions.query("model == 'demo/vgg11_bn'").reset_index(drop=True)
    assert list(mine["class"]) == list(expected["class"])
    assert mine["probability"].to_numpy() == pytest.approx(expected["probability"], abs=1e-6)
    stages = pd.read_csv(tables / "statistics_stages.csv")
    frame = vizkit.describe(MODELS, photos).frame
    assert stages["value"].to_numpy() == pytest.approx(frame["value"], rel=1e-6)
    cams = pd.read_csv(tables / "attributions.csv")
    # all models explain the same class of a photo
    assert all(len(set(group["target"])) == 1 for _, group in cams.groupby("image"))
    cka = pd.read_csv(tables / "similarity.csv")
    found = vizkit.similarity(MODELS, photos).to_frame()
    assert cka["value"].to_numpy() == pytest.approx(found["value"], rel=1e-6)
    answers = pd.read_csv(tables / "answers.csv")
    said = vizkit.predict("demo/vgg11", photos, 1)
    assert list(answers.query("model == 'demo/vgg11'")["class"]) == list(said["class"])


def test_every_table_is_linked_and_every_figure_says_of_how_many_photos(page):
    text = page.read_text(encoding="utf-8")
    tables = {p.name for p in (page.parent / "tables").iterdir()}
    assert tables == set(re.findall(r'href="tables/([^"]+)"', text))
    captions = re.findall(r"<figcaption><b>Figure (\d+)\.</b>(.*?)</figcaption>", text)
    assert [int(number) for number, _ in captions] == list(range(1, len(captions) + 1))
    for _, caption in captions:
        assert re.search(r"\d photo|one image|of rocket|of motorcycle", caption), caption
    assert "128 px, bilinear" in captions[0][1]


def test_the_summary_names_what_differs_and_links_to_the_proof(page):
    text = page.read_text(encoding="utf-8")
    summary = text[text.index('id="summary"') : text.index('id="models"')]
    points = re.findall(r"<li>(.*?)</li>", summary, re.DOTALL)
    assert len(points) >= 5
    sections = set(re.findall(r'<section id="(\w+)"', text))
    assert set(re.findall(r'href="#(\w+)"', summary)) <= sections
    # the mean activation of the twins, from the table that is linked
    stages = pd.read_csv(page.parent / "tables" / "statistics_stages.csv")
    means = stages.query("statistic == 'mean'").pivot_table(
        index="stride", columns="model", values="value"
    )
    ratio = (means["demo/vgg11_bn"] / means["demo/vgg11"]).drop(32)
    told = re.search(r"At stride (\d+),? the mean activation .*?is (\d+) times", summary)
    assert told
    assert int(told[1]) == ratio.idxmax()
    assert int(told[2]) == round(ratio.max())
    # four photos say nothing of similarity
    assert "least alike" not in summary
    assert "From 4 photos little can be said" in text


def test_manifest(page):
    manifest = json.loads((page.parent / "manifest.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in manifest["models"]] == MODELS
    assert all(re.fullmatch(r"[0-9a-f]{64}", m["sha256"]) for m in manifest["models"])
    assert manifest["options"] == {
        "channels": 9, "scale": None, "max_images": 2, "methods": ["grad_cam"],
        "same_pixels": False, "speed": False, "quick": False,
    }  # fmt: skip
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((page.parent / name).read_bytes()).hexdigest() == digest
    assert {"vizkit", "torch", "timm"} <= set(manifest["versions"])


def test_an_earlier_report_is_replaced_but_nothing_else(photos, tmp_path):
    out = tmp_path / "report"
    two = {name: photos[name] for name in ("rocket", "chelsea")}
    vizkit.report("demo/vgg11", two, out, **QUICK | {"max_images": 2})
    assert (out / "figures" / "why-2.png").exists()
    small = {"rocket": photos["rocket"]}
    vizkit.report("demo/vgg11", small, out, **QUICK)
    assert not (out / "figures" / "why-2.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    # the user's own notes among it
    (out / "figures" / "notes.txt").write_text("years of work")
    with pytest.raises(vizkit.InputError, match=r"other files than a report \(figures/notes.txt\)"):
        vizkit.report("demo/vgg11", small, out, **QUICK)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for content in (None, '{"files": ["vizkit report"]}', "[" * 5000):
        if content:
            (tmp_path / "thesis" / "manifest.json").write_text(content)
        with pytest.raises(vizkit.InputError, match="holds other files than a report"):
            vizkit.report("demo/vgg11", small, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    with pytest.raises(vizkit.InputError, match="is a file"):
        vizkit.report("demo/vgg11", small, tmp_path / "thesis" / "chapter.txt")


def test_a_report_among_the_photos_is_refused(classes):
    with pytest.raises(vizkit.InputError, match="lies among the photos in"):
        vizkit.report("demo/vgg11", classes, classes / "report")
    with pytest.raises(vizkit.InputError, match="lies among the photos in"):
        vizkit.report("demo/vgg11", [str(classes / "church")], classes / "church" / "a" / "b")
    assert {path.name for path in classes.iterdir()} == {"church", "golf ball"}


def test_a_failed_report_leaves_nothing(tmp_path):
    with pytest.raises(vizkit.InputError, match="no such image"):
        vizkit.report("demo/vgg11", "missing.jpg", tmp_path / "report")
    with pytest.raises(vizkit.InputError, match="unknown scale"):
        vizkit.report("demo/vgg11", None, tmp_path / "report", scale="x")
    with pytest.raises(vizkit.InputError, match="unknown method 'cam_grad'; did you mean"):
        vizkit.report("demo/vgg11", None, tmp_path / "report", methods="cam_grad")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_read_are_named_and_left_out(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a-broken.jpg").write_bytes(b"no image")
    with pytest.raises(vizkit.InputError, match=r"none of the images can be read: .*a-broken"):
        vizkit.report("demo/vgg11", folder, tmp_path / "r", **QUICK)
    photos["rocket"].save(folder / "rocket.jpg")
    page = vizkit.report("demo/vgg11", folder, tmp_path / "r", **QUICK)
    assert "Left out, because they cannot be read: a-broken.jpg." in page.read_text("utf-8")
    assert "over 1 photo," in page.read_text("utf-8")
    assert "There is nothing to compare with" in page.read_text("utf-8")
    failed = pd.read_csv(tmp_path / "r" / "tables" / "failed.csv")
    assert "not an image" in failed["reason"][0]


def test_the_folder_can_be_read_by_others(page):
    assert page.parent.stat().st_mode & 0o055 == 0o055


def test_a_report_on_a_user_s_own_network(tmp_path):
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4),
    )  # fmt: skip
    page = vizkit.report({"mine": net}, vizkit.samples()["rocket"], tmp_path / "r", **QUICK)
    assert "mine" in page.read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))
    assert facts["models"][0]["recipe"] is None
    # quick: every figure once
    files = list((tmp_path / "r" / "figures").iterdir())
    assert files
    assert all(file.suffix == ".png" and "-dark" not in file.name for file in files)
    assert "-dark.png" not in page.read_text(encoding="utf-8")
    assert ".pdf" not in page.read_text(encoding="utf-8")
    assert not Path(tmp_path / "r" / "figures" / "statistics-layers.png").exists()


def test_where_classes_are_known_answers_are_judged(judged, classes):
    text = judged.read_text(encoding="utf-8")
    tables = judged.parent / "tables"
    scores = pd.read_csv(tables / "scores.csv").set_index("model")
    expected = vizkit.evaluate(MODELS, classes).set_index("model")
    assert scores["accuracy"].to_dict() == pytest.approx(expected["top1"].to_dict())
    assert {"calibration.png", "confusion.png"} <= {
        p.name for p in (judged.parent / "figures").iterdir()
    }
    assert {"flips.csv", "flip_counts.csv", "confusion.csv"} <= {p.name for p in tables.iterdir()}
    assert "exact McNemar test" in text
    speed = pd.read_csv(tables / "speed.csv")
    assert list(speed["model"]) == MODELS
    assert (speed["ms"] > 0).all()


def test_folders_that_are_no_classes_are_just_folders(tmp_path):
    for name in ("rocket", "coffee"):
        folder = tmp_path / "photos" / f"holiday {name}"
        folder.mkdir(parents=True)
        vizkit.samples()[name].save(folder / "one.png")
    page = vizkit.report(MODELS, tmp_path / "photos", tmp_path / "r", **QUICK)
    text = page.read_text(encoding="utf-8")
    assert "Whether they are right is not known here" in text
    assert (tmp_path / "r" / "figures" / "disagreement.png").exists()
    assert not (tmp_path / "r" / "figures" / "calibration.png").exists()


def same(first, second):
    files = {p.relative_to(first) for p in first.rglob("*") if p.is_file()}
    assert files == {p.relative_to(second) for p in second.rglob("*") if p.is_file()}
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_report_can_be_made_again_from_its_manifest(judged, classes):
    again = vizkit.rebuild_report(judged.parent / "manifest.json", classes.parent / "again")
    same(judged.parent, again.parent)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A report on one photo and a model of the user's own weights, as light bitmaps and PDF."""
    root = tmp_path_factory.mktemp("small")
    state = vizkit.load("demo/vgg11").module.state_dict()
    safetensors.torch.save_file(state, root / "mine.safetensors")
    (root / "photos").mkdir()
    vizkit.samples()["rocket"].save(root / "photos" / "rocket.png")
    mine = vizkit.load("demo/vgg11", weights=root / "mine.safetensors")
    return vizkit.report({"my net": mine}, root / "photos", root / "report", **PLAIN).parent


def test_a_report_can_be_moved_with_its_photos_and_weights(small, tmp_path):
    shutil.copytree(small.parent, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere"
    made = vizkit.rebuild_report(moved / "report", moved / "again")
    same(small, made.parent)


def test_photos_and_weights_are_checked_before_anything_is_made(small, tmp_path):
    shutil.copytree(small, tmp_path / "report")
    with pytest.raises(vizkit.InputError, match=r"rocket\.png is missing"):
        vizkit.rebuild_report(tmp_path / "report", tmp_path / "new")
    (tmp_path / "photos").mkdir()
    vizkit.samples()["coffee"].save(tmp_path / "photos" / "rocket.png")
    with pytest.raises(vizkit.InputError, match=r"rocket\.png is not the photo"):
        vizkit.rebuild_report(tmp_path / "report", tmp_path / "new", images=tmp_path / "photos")
    (tmp_path / "photos" / "rocket.png").rename(tmp_path / "photos" / "coffee.png")
    with pytest.raises(vizkit.InputError, match=r"1 photos of the report are not there"):
        vizkit.rebuild_report(tmp_path / "report", tmp_path / "new", images=tmp_path / "photos")
    # the photos may lie anywhere, but the weights are others
    state = vizkit.load("demo/vgg11").module.state_dict()
    changed = {name: tensor + 1 for name, tensor in state.items()}
    safetensors.torch.save_file(changed, tmp_path / "mine.safetensors")
    with pytest.raises(vizkit.WeightsError, match="my net: the weights are not those"):
        vizkit.rebuild_report(tmp_path / "report", tmp_path / "new", images=small.parent / "photos")
    assert not (tmp_path / "new").exists()


def test_what_was_in_memory_cannot_be_made_again(page, small, tmp_path):
    with pytest.raises(vizkit.InputError, match="rocket was an image in memory"):
        vizkit.rebuild_report(page.parent, tmp_path / "r")
    facts = json.loads((small / "manifest.json").read_text(encoding="utf-8"))
    facts["models"][0]["recipe"] = None
    (small.parent / "edited.json").write_text(json.dumps(facts))
    with pytest.raises(vizkit.InputError, match="my net was a module in memory"):
        vizkit.rebuild_report(
            small.parent / "edited.json", tmp_path / "r", images=small.parent / "photos"
        )
    damaged = [
        {"images": []}, {"images": ["a"]}, {"images": [{"name": "a", "sha256": "b", "path": 3}]},
        {"models": [{"name": "a"}]}, {"measured": None}, {"measured": {"speed": "fast"}},
        {"files": []}, {"options": {**facts["options"], "methods": "grad_cam"}}, {"threads": "x"},
    ]  # fmt: skip
    damaged = [json.dumps(facts | change) for change in damaged]
    for content in ("", "[]", '{"what": "vizkit stats"}', "[" * 5000, *damaged):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(vizkit.InputError, match="manifest"):
            vizkit.rebuild_report(tmp_path / "manifest.json", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_pictures_are_of_images_evenly_spaced_that_can_be_read(tmp_path):
    for n in range(9):
        Image.new("RGB", (8, 8), (n, n, n)).save(tmp_path / f"{n}.png")
    images = as_images(tmp_path)
    assert [photo.name for photo in spread(images, 3)] == ["0.png", "4.png", "8.png"]
    (tmp_path / "4.png").write_bytes(b"broken")
    assert [photo.name for photo in spread(images, 3)] == ["0.png", "8.png", "1.png"]
    assert len(spread(images, 20)) == 8
