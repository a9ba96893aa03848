"""Top patches in the explorer: top_patches' own, for all channels, cut in the browser."""

import numpy as np
import pytest
from browsing import Watch, pixels
from PIL import Image

import vizkit
from vizkit.widgets import explore
from vizkit.widgets.patches import K


@pytest.fixture(scope="module")
def searched(models):
    found = explore(models)
    found.controls.patches.click()
    found.wait(60)
    assert found.canvas.message == ""
    yield found
    found.close_all()


@pytest.fixture
def explorer(models, photo):
    found = explore(models, {"chelsea": photo, "coffee": vizkit.samples()["coffee"]})
    yield found
    found._work.cancel()
    found.close_all()


def table(canvas, n, place, channels):
    """Photo, row and column, and value of each channel's patches: (C, k) each."""
    start = canvas.patches["models"][n]["cells"][place]
    shape, count = (channels, K), channels * K
    whole = np.frombuffer(canvas.patches_data, "<i4", 3 * count, start).reshape(3, *shape)
    values = np.frombuffer(canvas.patches_data, "<f4", count, start + 12 * count).reshape(shape)
    return (*whole, values)


@pytest.mark.parametrize("place", [1, 3, 5])
def test_they_are_those_of_top_patches_for_every_channel(searched, models, place):
    stride = 2**place
    for n, model in enumerate(models):
        tap = searched.look.places.taps[model.name][stride]
        channels = list(range(tap.channels))
        true = vizkit.top_patches(model, vizkit.samples(), [tap], channels, K).frame
        photos, rows, columns, values = table(searched.canvas, n, place, tap.channels)
        assert (photos[:, 5:] == -1).all(), "there are five photos"
        for name, found in [("image", photos), ("row", rows), ("column", columns)]:
            expected = true[name].to_numpy().reshape(tap.channels, 5)
            np.testing.assert_array_equal(found[:, :5], expected, name)
        expected = true["value"].to_numpy().reshape(tap.channels, 5)
        np.testing.assert_allclose(values[:, :5], expected, rtol=1e-5, atol=1e-6)


def test_a_network_without_the_place_has_none(searched):
    cells = [each["cells"] for each in searched.canvas.patches["models"]]
    assert [row[0] is None for row in cells] == [False, False, True]


def test_pictures_are_what_the_networks_saw_and_sent_once(searched, models):
    found = searched.canvas.patches
    # three networks of one transform, five photos
    assert len(found["pictures"]) == 5
    for n, photo in enumerate(vizkit.samples().values()):
        picture = found["pictures"][found["models"][2]["pictures"][n]]
        shape = picture["height"], picture["width"], 3
        own = np.frombuffer(
            searched.canvas.patches_data, np.uint8, 128 * 128 * 3, picture["offset"]
        )
        np.testing.assert_array_equal(own.reshape(shape), models[2].transform.view(photo))


def test_they_stay_with_another_photo_or_class_and_go_with_other_networks(explorer):
    explorer.controls.patches.click()
    explorer.wait(60)
    data = explorer.canvas.patches_data
    assert len(data) == explorer.canvas.patches["bytes"]
    for field, value in [("photo", "coffee"), ("target", "church"), ("method", "saliency")]:
        getattr(explorer.controls, field).value = value
        explorer.wait(60)
        assert explorer.canvas.patches_data is data
    explorer.controls.models[2].value = ""
    explorer.wait(60)
    assert explorer.canvas.patches == {}
    assert explorer.canvas.patches_data == b""


def test_photos_that_cannot_be_read_are_counted(models, photo, tmp_path):
    for name in ("a.png", "b.png"):
        photo.save(tmp_path / name)
    found = explore(models[0], tmp_path)
    (tmp_path / "b.png").write_bytes(b"no image")
    found.controls.patches.click()
    found.wait(60)
    assert found.canvas.patches["failed"] == 1
    (tap,) = (tap for tap in models[0].stages if tap.stride == 2)
    photos = table(found.canvas, 0, 1, tap.channels)[0]
    assert set(photos[:, 0]) == {0}
    assert set(photos[:, 1]) == {-1}
    (tmp_path / "a.png").write_bytes(b"no image")
    before = found.canvas.patches_data
    found.controls.patches.click()
    found.wait(60)
    assert "none of the 2 photos can be read" in found.canvas.message
    assert found.canvas.patches_data is before
    found.close()


def test_many_photos_are_cut_to_the_first(models, photo, monkeypatch):
    monkeypatch.setattr("vizkit.widgets.patches.MOST", 2)
    coffee = vizkit.samples()["coffee"]
    found = explore(models[0], {"a": photo, "b": photo.rotate(90), "c": coffee})
    found.controls.patches.click()
    found.wait(60)
    assert found.canvas.patches["photos"] == ["a", "b"]
    assert found.canvas.patches["listed"] == 3
    found.close()


def test_the_search_shows_progress_and_can_be_stopped(explorer, models, unchanged):
    with unchanged(models[0].module):
        explorer.controls.patches.click()
        assert explorer.canvas.busy == "searching"
        assert explorer.controls.patches.disabled
        assert not explorer.controls.cancel.disabled
        explorer.controls.cancel.click()
    assert "Cancelled" in explorer.canvas.message
    assert explorer.canvas.patches == {}
    explorer.controls.patches.click()
    explorer.controls.photo.value = "coffee"
    explorer.wait(60)
    assert "search for top patches was stopped" in explorer.canvas.message
    assert explorer.canvas.scene["image"] == "coffee"
    assert explorer.canvas.patches == {}


@pytest.fixture
def page(browser, searched, tmp_path):
    path = searched.save_html(tmp_path / "patches.html")
    found = browser.new_page(viewport={"width": 1280, "height": 1200})
    found.set_default_timeout(5000)
    seen = Watch(found)
    found.goto(path.as_uri())
    found.locator(".vk-patch canvas").first.wait_for()
    found.wait_for_timeout(100)
    yield found
    assert seen.errors == []
    assert seen.elsewhere("file:///") == []
    found.close()


def press(page, *keys):
    page.locator(".vk-main").focus()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_timeout(100)


def ranked(model, stage, rank):
    """The channel at a rank by energy, for the first photo."""
    maps = vizkit.capture(model, vizkit.samples()["astronaut"])[stage][0].double().numpy()
    return int(np.argsort(-np.square(maps).sum(axis=(1, 2)), kind="stable")[rank])


@pytest.mark.browser
def test_a_page_without_a_kernel_shows_each_channels_own_patches(page, models):
    page.get_by_label("Stage", exact=True).select_option("stride 4")
    for rank in range(3):
        press(page, *["ArrowDown"] * bool(rank))
        for n, model in enumerate(models):
            channel = ranked(model, "stride4", rank)
            true = vizkit.top_patches(model, vizkit.samples(), "stride4", channel, K)
            row = page.locator(".vk-panel").nth(n).locator(".vk-patch:not([hidden])")
            assert row.locator(".vk-patch-name").all_text_contents() == list(true.frame["file"])
            shown = [float(text) for text in row.locator(".vk-patch-value").all_text_contents()]
            assert shown == pytest.approx(list(true.frame["value"]), rel=0.01)
            assert_pictures(row, true)


def assert_pictures(row, true):
    """Compare what is drawn with the crops, at their places in the whole field."""
    (field,) = true.fields[["height", "width"]].to_numpy().astype(int)
    for i, crop in enumerate(true.crops):
        patch = true.frame.iloc[i]
        top, left = (int(patch[a] - patch[b]) for a, b in [("y0", "field_y0"), ("x0", "field_x0")])
        picture = pixels(row.nth(i).locator("canvas"))
        scale = np.array(picture.shape[:2]) / field
        corner = np.array([top, left])
        ends = corner + crop.shape[:2]
        (y0, x0), (y1, x1) = (np.rint(each * scale).astype(int) for each in (corner, ends))
        enlarged = Image.fromarray(crop).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
        # the screen's pixels may begin half a pixel beside the page's
        off = np.abs(picture[y0:y1, x0:x1] - np.asarray(enlarged).astype(int))[2:-2, 2:-2]
        assert off.mean() < 12, (i, off.mean())
        assert off.mean() < 0.5 * np.abs(picture[y0:y1, x0:x1] - crop.mean(axis=(0, 1))).mean()
        if top > 4:
            beyond = picture[2 : int((top - 2) * scale[0]), 2:-2]
            assert np.ptp(beyond, axis=(0, 1)).max() <= 2, "beyond the photo is nothing"


@pytest.mark.browser
def test_patches_have_words_and_are_spoken(page, models):
    page.get_by_label("Stage", exact=True).select_option("stride 4")
    page.wait_for_timeout(100)
    channel = ranked(models[0], "stride4", 0)
    words = page.locator(".vk-patch canvas").first.get_attribute("aria-label")
    assert words.startswith(f"patch 1 of channel {channel} of demo/vgg11: ")
    page.locator(".vk-live", has_text="top patches: ").wait_for(state="attached")
    assert "Top patches: from 5 photos" in page.locator(".vk-caption").text_content()
    press(page, "m")
    assert page.locator(".vk-patch:visible").count() == 0, "attributions have no channels"
    press(page, "m", "m", "Home")
    assert page.locator(".vk-panel").nth(2).locator(".vk-patch:visible").count() == 0
