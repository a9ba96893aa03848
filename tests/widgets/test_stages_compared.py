"""All stages beside each other, on a saved page in a real browser: cells, marks and keys."""

import numpy as np
import pytest
from browsing import Watch, pixels
from matplotlib import colormaps

import vizkit
from vizkit.widgets import explore

pytestmark = pytest.mark.browser
STRIDES = [1, 2, 4, 8, 16, 32]
ORANGE = [255, 158, 74]


@pytest.fixture(scope="module")
def path(models, photo, tmp_path_factory):
    found = explore(models, {"chelsea": photo})
    found.canvas.view = "comparison"
    yield found.save_html(tmp_path_factory.mktemp("compared") / "page.html")
    found.close_all()


def opened(browser, path, theme="light", size=(1280, 1000)):
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.set_default_timeout(5000)
    seen = Watch(page)
    page.goto(path.as_uri())
    page.wait_for_selector(".vk-table canvas")
    page.wait_for_timeout(100)
    return page, seen


@pytest.fixture
def page(browser, path):
    found, seen = opened(browser, path)
    yield found
    assert seen.errors == []
    assert seen.elsewhere("file:///") == []
    found.close()


def show(page, label, value):
    page.get_by_label(label, exact=True).select_option(value)
    page.wait_for_timeout(100)


def press(page, *keys):
    page.locator(".vk-main").focus()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_timeout(100)


def cell(page, n, place):
    return page.locator(".vk-table .vk-cell").nth(6 * n + place)


def middles(picture, rows, columns):
    ys = ((np.arange(rows) + 0.5) * picture.shape[0] / rows).astype(int)
    xs = ((np.arange(columns) + 0.5) * picture.shape[1] / columns).astype(int)
    return picture[np.ix_(ys, xs)]


def assert_colours(found, values, low, high):
    """Compare colours, where a value may be off by half a step of its 8 bits."""
    step = np.ptp(values) / 255
    near = [
        np.rint(255 * colormaps["viridis"]((values + by * step - low) / (high - low))[..., :3])
        for by in (-1, -0.5, 0, 0.5, 1)
    ]
    assert np.min([np.abs(found - each).max(axis=-1) for each in near], axis=0).max() <= 3


@pytest.fixture(scope="module")
def maps(models, photo):
    return [
        {tap.stride: values[0].double().numpy() for tap, values in vizkit.capture(m, photo).items()}
        for m in models
    ]


def energy(values):
    return np.sqrt(np.square(values).mean(axis=0))


def strongest(values, rank=0):
    return values[np.argsort(-np.square(values).sum(axis=(1, 2)), kind="stable")[rank]]


def top(values):
    return np.percentile(np.abs(values), 99.5)


def test_it_is_models_by_strides_with_gaps(page, models):
    assert page.locator(".vk-table .vk-cell").count() == 18
    heads = page.locator(".vk-table .vk-head").all_text_contents()
    assert heads == ["photo", *(f"stride {stride}" for stride in STRIDES)]
    assert cell(page, 2, 0).text_content() == "no stride 1"
    assert page.locator(".vk-table canvas[role=img]").count() == 17 + 3
    assert page.locator(".vk-panels").is_hidden()
    assert page.locator(".vk-strip").is_hidden()


@pytest.mark.parametrize("scale", ["panel", "stage", "model", "all"])
@pytest.mark.parametrize("what", ["energy", "channel"])
def test_cells_have_the_colours_of_their_values_on_the_chosen_scale(page, maps, what, scale):
    show(page, "In each cell", what)
    show(page, "Colours", scale)
    one = {"energy": energy, "channel": strongest}[what]
    whole = [{s: energy(v) if what == "energy" else v for s, v in own.items()} for own in maps]
    tops = [{s: top(v) for s, v in own.items()} for own in whole]
    for n, own in enumerate(maps):
        for stride in (8, 16, 32):
            values = one(own[stride])
            low, high = {
                "panel": (values.min() if what == "channel" else 0, values.max()),
                "stage": (0, max(each[stride] for each in tops)),
                "model": (0, max(tops[n].values())),
                "all": (0, max(max(each.values()) for each in tops)),
            }[scale]
            if (what, scale) == ("energy", "panel"):
                high = tops[n][stride]
            place = STRIDES.index(stride)
            found = middles(pixels(cell(page, n, place).locator(".vk-frame")), *values.shape)
            assert_colours(found, values, low, high)
            shown = cell(page, n, place).locator(".vk-value").text_content().split(" to ")[1]
            assert float(shown) == pytest.approx(high, rel=0.01)


def test_attributions_lie_over_the_photo_in_every_cell(page, models, photo):
    tables = [vizkit.predict(model, photo, k=10).set_index("index") for model in models]
    target = int(sum(table["probability"] for table in tables).idxmax())
    page.get_by_label("Overlay strength").fill("1")
    page.wait_for_timeout(150)
    for n, model in enumerate(models):
        heat = vizkit.attribute(model, photo, targets=target).values["grad_cam"]
        grey = model.transform.view(photo).astype(float) @ [0.299, 0.587, 0.114]
        for stride in (16, 32):
            values = heat[f"stride{stride}"][0, 0].double().numpy()
            high = top(values)
            alpha = np.sqrt(np.clip(values[0, 0] / high, 0, 1))
            colour = 255 * np.array(colormaps["inferno"](min(1, values[0, 0] / high))[:3])
            expected = grey[:3, :3].mean() * (1 - alpha) + colour * alpha
            frame = cell(page, n, STRIDES.index(stride)).locator(".vk-frame")
            assert np.abs(pixels(frame)[1:4, 1:4].mean(axis=(0, 1)) - expected).max() < 14


def test_pointing_marks_the_same_place_everywhere_and_reads_the_values(page, maps, models):
    show(page, "In each cell", "channel")
    box = cell(page, 1, 3).locator(".vk-frame").bounding_box()
    u, v = 5.5 / 16, 9.5 / 16
    page.mouse.move(box["x"] + box["width"] * u, box["y"] + box["height"] * v)
    page.wait_for_timeout(150)
    for n, own in enumerate(maps):
        for stride, values in own.items():
            one = strongest(values)
            row, column = int(v * one.shape[0]), int(u * one.shape[1])
            here = cell(page, n, STRIDES.index(stride))
            shown = float(here.locator(".vk-value").text_content())
            near = np.ptp(one) / 510 + 0.005 * abs(one[row, column]) + 1e-6
            assert shown == pytest.approx(one[row, column], abs=near)
            picture = pixels(here.locator(".vk-frame"))
            marked = np.argwhere(np.abs(picture - ORANGE).max(axis=-1) < 40)
            middle = (marked.min(axis=0) + marked.max(axis=0)) / 2 / picture.shape[:2]
            expected = (np.array([row, column]) + 0.5) / one.shape
            assert np.abs(middle - expected).max() < 0.03, (n, stride)
        drawn = pixels(page.locator(".vk-seen").nth(n))
        assert (np.abs(drawn - ORANGE).max(axis=-1) < 60).sum() > 50, "the field on the photo"
    said = page.locator(".vk-said").text_content()
    size = int(vizkit.profile(models[1]).set_index("stage")["receptive_field"]["stride8"])
    assert "x 5, y 9: " in said
    assert said.endswith(f"sees {size} x {size} px")
    title = page.locator(".vk-comparison .vk-title").text_content()
    assert title.startswith("demo/vgg11_bn \N{MIDDLE DOT} stride 8")
    page.mouse.move(2, 2)
    page.wait_for_timeout(100)
    assert " to " in cell(page, 0, 0).locator(".vk-value").text_content()


def test_keys_go_from_cell_to_cell_and_into_a_stage(page, maps):
    press(page, "Home", "ArrowRight", "ArrowDown", "c", "c")
    assert "vk-chosen" in cell(page, 1, 1).get_attribute("class")
    assert page.locator(".vk-table .vk-cell.vk-chosen").count() == 1
    assert page.get_by_label("In each cell").input_value() == "channel"
    title = page.locator(".vk-comparison .vk-title")
    assert title.text_content().startswith("demo/vgg11_bn \N{MIDDLE DOT} stride 2")
    press(page, "PageDown")
    values = strongest(maps[1][2], 1)
    words = page.locator(".vk-said").text_content()
    assert "rank 2 of" in words
    assert float(words.split(" to ")[1]) == pytest.approx(values.max(), rel=0.01)
    press(page, "Shift+ArrowRight")
    assert "x 33, y 32: " in page.locator(".vk-said").text_content()
    page.locator(".vk-live", has_text="x 33, y 32").wait_for(state="attached")
    press(page, "ArrowDown", "ArrowDown", "ArrowLeft")
    assert title.text_content() == "demo/vovnet19b \N{MIDDLE DOT} no stride 1 in this network"
    spoken = "demo/vovnet19b \N{MIDDLE DOT} no stride 1 in this network."
    page.locator(".vk-live", has_text=spoken).wait_for(state="attached")
    press(page, "ArrowRight", "Enter")
    assert page.get_by_label("Show").input_value() == "maps"
    assert page.get_by_label("Stage", exact=True).input_value() == "1"
    assert page.locator(".vk-panel").first.is_visible()
    press(page, "m", "m")
    assert page.get_by_label("Show").input_value() == "comparison"


def test_a_click_chooses_a_cell_and_marks_the_place(page):
    cell(page, 2, 4).locator(".vk-marks").click(position={"x": 3, "y": 3})
    page.mouse.move(2, 2)
    page.wait_for_timeout(100)
    assert "vk-chosen" in cell(page, 2, 4).get_attribute("class")
    assert "x 0, y 0: " in page.locator(".vk-said").text_content()
    cell(page, 2, 0).click()
    page.wait_for_timeout(100)
    assert "vk-chosen" in cell(page, 2, 0).get_attribute("class")
    cell(page, 0, 5).locator(".vk-marks").dblclick()
    page.wait_for_timeout(100)
    assert page.get_by_label("Show").input_value() == "attributions"
    assert page.get_by_label("Stage", exact=True).input_value() == "5"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 800])
def test_it_fits_narrow_screens_in_both_themes(browser, path, theme, width):
    page, seen = opened(browser, path, theme, (width, 1000))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".vk-table").evaluate("e => e.scrollWidth <= e.clientWidth")
    paper = np.median(pixels(page.locator("body")).mean(axis=-1))
    assert (paper > 240) if theme == "light" else (paper < 40)
    for n in range(3):
        assert pixels(cell(page, n, 5).locator(".vk-frame")).std() > 2
    assert seen.errors == []
    page.close()
