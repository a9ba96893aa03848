"""The report folder: complete, true, reproducible, safe to open."""

import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import vizkit

MODELS = ["demo/vgg11", "demo/vgg11_bn"]
NASTY = "<img src=x onerror=alert(1)>&$.png"


@pytest.fixture(scope="module")
def photos():
    found = vizkit.samples()
    return {"rocket": found["rocket"], NASTY: found["coffee"]}


@pytest.fixture(scope="module")
def page(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("reports") / "one"
    assert vizkit.report(MODELS, photos, out) == out / "index.html"
    return out / "index.html"


def test_every_file_the_page_names_is_there_and_nothing_else_is_fetched(page):
    text = page.read_text(encoding="utf-8")
    names = set(re.findall(r'(?:src|srcset|href)="([^"#]+)"', text))
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
    assert {"predictions", "grad-cam-1", "grad-cam-2", "statistics-stages", "statistics-layers",
            "profile", "maps-1-demo-vgg11", "maps-2-demo-vgg11-bn"} <= pngs  # fmt: skip
    assert (folder / "profile.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(folder / "grad-cam-1.png") as figure:
        assert figure.size[0] > 800


def test_tables_are_the_library_s_numbers(page, photos):
    tables = page.parent / "tables"
    predictions = pd.read_csv(tables / "predictions.csv")
    expected = vizkit.predict("demo/vgg11_bn", photos)
    mine = predictions.query("model == 'demo/vgg11_bn'").reset_index(drop=True)
    assert list(mine["class"]) == list(expected["class"])
    assert mine["probability"].to_numpy() == pytest.approx(expected["probability"], abs=1e-6)
    stages = pd.read_csv(tables / "statistics_stages.csv")
    frame = vizkit.describe(MODELS, photos).frame
    assert stages["value"].to_numpy() == pytest.approx(frame["value"], rel=1e-6)
    cams = pd.read_csv(tables / "grad_cam.csv")
    # all models explain the same class of a photo
    assert all(len(set(group["target"])) == 1 for _, group in cams.groupby("image"))


def test_manifest(page):
    manifest = json.loads((page.parent / "manifest.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in manifest["models"]] == MODELS
    assert all(re.fullmatch(r"[0-9a-f]{64}", m["sha256"]) for m in manifest["models"])
    assert manifest["options"] == {"channels": 16, "scale": "stage", "max_images": 8}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((page.parent / name).read_bytes()).hexdigest() == digest
    assert {"vizkit", "torch", "timm"} <= set(manifest["versions"])


def test_the_same_input_gives_the_same_bytes(page, photos):
    again = vizkit.report(MODELS, photos, page.parent.parent / "two").parent
    for file in page.parent.rglob("*"):
        if file.is_file():
            assert (again / file.relative_to(page.parent)).read_bytes() == file.read_bytes(), file


def test_an_earlier_report_is_replaced_but_nothing_else(page, photos, tmp_path):
    out = tmp_path / "report"
    small = {"rocket": photos["rocket"]}
    vizkit.report("demo/vgg11", small, out)
    (out / "figures" / "left-over.png").write_bytes(b"")
    vizkit.report("demo/vgg11", small, out)
    assert not (out / "figures" / "left-over.png").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(vizkit.InputError, match="holds other files than a report"):
        vizkit.report("demo/vgg11", small, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    with pytest.raises(vizkit.InputError, match="is a file"):
        vizkit.report("demo/vgg11", small, tmp_path / "thesis" / "chapter.txt")


def test_a_failed_report_leaves_nothing(tmp_path):
    with pytest.raises(vizkit.InputError, match="no such image"):
        vizkit.report("demo/vgg11", "missing.jpg", tmp_path / "report")
    with pytest.raises(vizkit.InputError, match="unknown scale"):
        vizkit.report("demo/vgg11", None, tmp_path / "report", scale="x")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_read_are_named_and_left_out(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a-broken.jpg").write_bytes(b"no image")
    with pytest.raises(vizkit.InputError, match=r"none of the images can be read: .*a-broken"):
        vizkit.report("demo/vgg11", folder, tmp_path / "r")
    photos["rocket"].save(folder / "rocket.jpg")
    page = vizkit.report("demo/vgg11", folder, tmp_path / "r")
    assert "Left out, because they cannot be read: a-broken.jpg." in page.read_text("utf-8")
    assert "over 1 image" in page.read_text("utf-8")
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
    page = vizkit.report({"mine": net}, vizkit.samples()["rocket"], tmp_path / "r")
    assert "mine" in page.read_text(encoding="utf-8")
    assert not Path(tmp_path / "r" / "figures" / "statistics-layers.png").exists()
