"""The similarity explorer: numbers and maps against similarity's and capture's own."""

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch
from browsing import Watch, pixels
from matplotlib import colormaps

import vizkit
from vizkit.widgets import explore_similarity


@pytest.fixture(scope="module")
def measured(models):
    found = vizkit.similarity(models, vizkit.samples())
    # one tap that cannot be compared, and intervals, which five photos in one batch do not have
    matrix = found.matrix.copy()
    matrix[2] = matrix[:, 2] = np.nan
    return dataclasses.replace(found, matrix=matrix, low=matrix - 0.1, high=matrix + 0.1)


@pytest.fixture(scope="module")
def explorer(measured, models):
    found = explore_similarity(measured, vizkit.samples(), models=models)
    yield found
    found.close_all()


def codes_of(canvas, row):
    cell = canvas.scene["cells"][row]
    count, size = cell["kept"], cell["height"] * cell["width"]
    table = np.frombuffer(canvas.scene_data, "<f4", 5 * count, cell["table"]).reshape(count, 5)
    codes = np.frombuffer(canvas.scene_data, np.uint8, count * size, cell["codes"])
    return table, codes.reshape(count, cell["height"], cell["width"])


def test_the_matrix_is_similaritys(explorer, measured):
    count = len(measured.labels)
    numbers = np.frombuffer(explorer.canvas.matrix, "<f4").reshape(3, count, count)
    expected = np.stack([measured.matrix, measured.low, measured.high])
    np.testing.assert_array_equal(numbers, expected.astype("<f4"))
    labels = explorer.canvas.atlas["labels"]
    assert [(each["model"], each["tap"]) for each in labels] == list(
        measured.labels[["model", "tap"]].itertuples(index=False, name=None)
    )
    assert [b["start"] for b in explorer.canvas.atlas["blocks"]] == [0, 6, 12]


@pytest.mark.parametrize("row", [0, 8, 16])
def test_maps_are_captures(explorer, measured, models, row):
    model, tap = measured.labels.loc[row, ["model", "tap"]]
    network = next(each for each in models if each.name == model)
    true = vizkit.capture(network, vizkit.samples()["astronaut"])[tap][0].double().numpy()
    table, codes = codes_of(explorer.canvas, row)
    order = np.argsort(-np.square(true).sum(axis=(1, 2)), kind="stable")[: len(table)]
    assert list(table[:, 0]) == list(order)
    low, high = table[:, 1, None, None].astype(float), table[:, 2, None, None].astype(float)
    values = low + codes * (high - low) / 255
    assert (np.abs(values - true[order]) <= (high - low) / 510 * 1.0001 + 1e-9).all()


def test_layers_of_several_roles_are_told_apart(models):
    found = explore_similarity(models[1], vizkit.samples(), at="layers")
    assert "conv1_1:norm" in {each["tap"] for each in found.canvas.atlas["labels"]}
    assert all(found.canvas.scene["cells"])
    found.close_all()


def test_another_photo_and_errors(models, measured, tmp_path):
    bad = tmp_path / "bad.png"
    photos = {**vizkit.samples(), "bad": bad}
    vizkit.samples()["coffee"].save(bad)
    found = explore_similarity(measured, photos, models=models)
    found.photo.value = "coffee"
    found.wait(30)
    assert found.canvas.scene["image"] == "coffee"
    bad.write_bytes(b"no image")
    found.photo.value = "bad"
    found.wait(30)
    assert "bad.png: not an image" in found.canvas.message
    assert "still those of coffee" in found.canvas.message
    assert found.canvas.busy == ""
    assert found.photo.value == "coffee"
    found.close_all()


def test_another_photo_can_be_stopped(measured, models, unchanged):
    found = explore_similarity(measured, vizkit.samples(), models=models)
    with unchanged(models[0].module):
        found.photo.value = "coffee"
        assert found.progress.layout.visibility == "visible"
        while found.progress.value == 0:
            found._work._tell(0.05)
            assert found._work.busy, "done before its second network was begun"
        found.cancel.click()
        while any(each.name == "vizkit" for each in threading.enumerate()):
            time.sleep(0.01)
    assert found.canvas.message.startswith("Cancelled.")
    assert found.canvas.busy == ""
    assert found.cancel.layout.visibility == found.progress.layout.visibility == "hidden"
    assert found.photo.value == found.canvas.scene["image"] == "astronaut"
    found.photo.value = "coffee"
    found.photo.value = "astronaut"
    found.wait(30)
    assert found.canvas.scene["image"] == "astronaut"
    found.photo.value = "coffee"
    found.wait(30)
    assert found.canvas.scene["image"] == "coffee"
    assert found.canvas.message == ""
    found.close_all()


def test_networks_are_measured_first_or_loaded_by_name(models, measured):
    found = explore_similarity(models[:1])
    assert found.similarity.models == ("demo/vgg11",)
    found.close_all()
    named = explore_similarity(measured)
    assert all(named.canvas.scene["cells"])
    named.close_all()
    other = dataclasses.replace(measured, labels=measured.labels.replace("demo/vgg11", "mine"))
    found = explore_similarity(other)
    assert [cell is None for cell in found.canvas.scene["cells"]] == [True] * 6 + [False] * 11
    found.close_all()


def test_bad_arguments_are_refused(measured, models):
    with pytest.raises(vizkit.InputError, match="at least 4 readable images"):
        explore_similarity(models, {"one": vizkit.samples()["coffee"]})
    with pytest.raises(vizkit.InputError, match="unknown model 'demo/vgg13'"):
        explore_similarity(measured, models="demo/vgg13")


@pytest.fixture
def page(browser, explorer, tmp_path):
    path = explorer.save_html(tmp_path / "atlas.html")
    found = browser.new_page(viewport={"width": 1280, "height": 900})
    found.set_default_timeout(5000)
    seen = Watch(found)
    found.goto(path.as_uri())
    found.locator(".vk-values", has_text="demo/").wait_for()
    found.wait_for_timeout(100)
    yield found
    assert seen.errors == []
    assert seen.elsewhere("file:///") == []
    found.close()


@pytest.mark.browser
def test_cells_have_the_colours_of_their_values(page, measured):
    page.locator(".vk-main").focus()
    page.keyboard.press("End")
    page.wait_for_timeout(100)
    picture = pixels(page.locator(".vk-matrix canvas")).astype(float)
    size, count = picture.shape[0], 17
    margin = edge(page)
    side = (size - margin) / count
    for row, column in [(4, 4), (1, 8), (14, 3), (7, 16)]:
        found = picture[int(margin + (row + 0.5) * side), int(margin + (column + 0.5) * side)]
        value = np.clip(measured.matrix[row, column], 0, 1)
        expected = 255 * np.array(colormaps["viridis"](value)[:3])
        assert np.abs(found - expected).max() < 3, (row, column)


def edge(page):
    """Where the cells begin: as wide as the names, which are less than a tenth."""
    picture = pixels(page.locator(".vk-matrix canvas"))
    row = picture[-2]
    # the last row's first cell differs from the paper
    return int(np.flatnonzero(np.abs(row - row[0]).max(axis=-1) > 20)[0])


@pytest.mark.browser
def test_keys_and_mouse_name_the_taps_and_show_their_maps(page, measured):
    words = page.locator(".vk-values")
    page.locator(".vk-main").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    value = measured.matrix[3, 1]
    expected = f"demo/vgg11 stride8 and demo/vgg11 stride2: {value:.3f} (95 % interval "
    page.locator(".vk-values", has_text=expected.replace("-", "\N{MINUS SIGN}")).wait_for()
    assert page.locator(".vk-sides .vk-title").all_text_contents() == [
        "demo/vgg11 \N{MIDDLE DOT} stride8",
        "demo/vgg11 \N{MIDDLE DOT} stride2",
    ]
    page.keyboard.press("ArrowUp")
    page.locator(".vk-values", has_text="the same for all images").wait_for()
    margin = edge(page)
    box = page.locator(".vk-matrix canvas").bounding_box()
    side = (box["width"] - margin) / 17
    x, y = box["x"] + margin + 15.5 * side, box["y"] + margin + 7.5 * side
    page.mouse.move(x, y)
    page.locator(
        ".vk-values", has_text="demo/vgg11_bn stride2 and demo/vovnet19b stride16"
    ).wait_for()
    titles = page.locator(".vk-sides .vk-title")
    assert "demo/vovnet19b" in titles.last.text_content(), "the maps are those pointed at"
    assert "channels of 8 x 8" in page.locator(".vk-sides .vk-facts").last.text_content()
    page.mouse.move(2, 2)
    page.locator(".vk-title", has_text="demo/vovnet19b").wait_for(state="detached")
    page.mouse.click(x, y)
    page.mouse.move(2, 2)
    page.wait_for_timeout(100)
    assert "demo/vovnet19b" in titles.last.text_content(), "a click keeps them"
    assert words.get_attribute("aria-live") == "polite"


@pytest.mark.browser
def test_the_maps_shown_have_captures_colours(page, models):
    page.locator(".vk-main").focus()
    for key in ("PageDown", "End"):
        page.keyboard.press(key)
    page.wait_for_timeout(150)
    maps = vizkit.capture(models[2], vizkit.samples()["astronaut"])["stride32"][0].double()
    strongest = maps[torch.argsort(maps.square().sum(dim=(1, 2)), descending=True)[0]].numpy()
    picture = pixels(page.locator(".vk-sides .vk-frame").first)
    tile = picture[: picture.shape[0] // 4 - 2, : picture.shape[1] // 4 - 2]
    middle = ((np.arange(4) + 0.5) * tile.shape[0] / 4).astype(int)
    share = (strongest - strongest.min()) / np.ptp(strongest)
    near = [255 * colormaps["viridis"](share + by / 255)[..., :3] for by in (-1, -0.5, 0, 0.5, 1)]
    found = tile[np.ix_(middle, middle)]
    assert np.min([np.abs(found - each).max(axis=-1) for each in near], axis=0).max() <= 3
