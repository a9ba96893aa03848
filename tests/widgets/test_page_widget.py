"""The saved page in a real browser: from disk, pixels against capture's own numbers."""

import numpy as np
import pytest
from browsing import KEYS, LIMITED, Watch, pixels
from matplotlib import colormaps

import vizkit
from vizkit.plots.style import THEMES
from vizkit.widgets import explore

pytestmark = pytest.mark.browser
WICKED = "</script><img src=x onerror=alert(1)>&{{title}}"
STRIDES = [1, 2, 4, 8, 16, 32]
TWO_FRAMES = """() => new Promise(
  (done) => requestAnimationFrame(() => requestAnimationFrame(done))
)"""


@pytest.fixture(scope="module")
def explorer(models, photo):
    found = explore(models, {WICKED: photo})
    yield found
    found.close_all()


@pytest.fixture(scope="module")
def path(explorer, tmp_path_factory):
    return explorer.save_html(tmp_path_factory.mktemp("widget") / "page.html")


def opened(browser, path, theme="light", size=(1280, 1000)):
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    page.set_default_timeout(5000)
    seen = Watch(page)
    page.goto(path.as_uri())
    page.wait_for_selector(".vk-panel canvas")
    settled(page)
    return page, seen


@pytest.fixture
def page(browser, path):
    found, seen = opened(browser, path)
    yield found
    assert seen.errors == []
    assert seen.elsewhere("file:///") == []
    found.close()


def settled(page):
    """Wait for the frame after the next."""
    page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def press(page, *keys):
    page.locator(".vk-main").focus()
    for key in keys:
        page.keyboard.press(key)
    settled(page)


def show(page, label, value):
    page.get_by_label(label, exact=True).select_option(value)
    settled(page)


def squares(picture, rows, columns):
    """Colour in the middle of each square of a picture."""
    ys = ((np.arange(rows) + 0.5) * picture.shape[0] / rows).astype(int)
    xs = ((np.arange(columns) + 0.5) * picture.shape[1] / columns).astype(int)
    return picture[np.ix_(ys, xs)]


def coloured(values, low, high, name="viridis"):
    return np.rint(255 * colormaps[name]((values - low) / (high - low))[..., :3])


def assert_colours(found, values, low, high, name="viridis"):
    """Compare colours, where a value may be off by half a step of its 8 bits."""
    step = (values.max() - values.min()) / 255
    near = [coloured(values + by * step, low, high, name) for by in (-1, -0.5, 0, 0.5, 1)]
    off = np.min([np.abs(found - each).max(axis=-1) for each in near], axis=0)
    assert off.max() <= 3, f"a colour is off by {off.max()} of 255"


def strongest(model, photo, stage):
    maps = vizkit.capture(model, photo)[stage][0].double().numpy()
    return maps[np.argsort(-np.square(maps).sum(axis=(1, 2)), kind="stable")]


def map_of(page, n):
    return pixels(page.locator(".vk-map").nth(n))


@pytest.mark.parametrize("stage", [8, 16, 32])
def test_a_channel_enlarged_has_the_colours_of_captures_values(page, models, photo, stage):
    show(page, "Stage", str(STRIDES.index(stage)))
    show(page, "Channels", "1")
    for rank in (0, 3):
        press(page, *["ArrowDown"] * rank)
        for n, model in enumerate(models):
            values = strongest(model, photo, f"stride{stage}")[rank]
            found = squares(map_of(page, n), *values.shape)
            assert_colours(found, values, values.min(), values.max())


def test_one_scale_for_a_stage_for_a_model_and_for_all(page, models, photo):
    show(page, "Channels", "1")
    press(page, "End")
    maps = [vizkit.capture(model, photo) for model in models]
    tops = [[np.percentile(np.abs(v[0].numpy()), 99.5) for v in each.values()] for each in maps]
    expected = {
        "stage": [max(own[-1] for own in tops)] * 3,
        "model": [max(own) for own in tops],
        "all": [max(max(own) for own in tops)] * 3,
    }
    for scale, highs in expected.items():
        show(page, "Colours", scale)
        for n, model in enumerate(models):
            values = strongest(model, photo, "stride32")[0]
            assert_colours(squares(map_of(page, n), *values.shape), values, 0, highs[n])
            shown = page.locator(".vk-high").nth(n).text_content()
            assert float(shown) == pytest.approx(highs[n], rel=0.01)
        assert "saturate" in page.locator(".vk-caption").text_content()


def test_a_mosaic_holds_the_strongest_channels_in_order(page, models, photo):
    show(page, "Stage", "4")
    show(page, "Channels", "9")
    press(page, "PageDown", "ArrowDown")
    for n, model in enumerate(models):
        picture = map_of(page, n)
        maps = strongest(model, photo, "stride16")[9:18]
        # the third tile's frame is of no channel
        side = picture.shape[0]
        for i in (0, 4, 8):
            top, left = (round(each * (side + 2) / 3) for each in divmod(i, 3))
            width = round((side + 2) / 3) - 2
            tile = picture[top : top + width, left : left + width]
            assert_colours(squares(tile, 8, 8), maps[i], maps[i].min(), maps[i].max())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_attributions_lie_over_the_grey_photo(browser, path, models, photo, theme):
    page, seen = opened(browser, path, theme)
    press(page, "m", "End")
    page.get_by_label("Overlay strength").fill("1")
    settled(page)
    for n, model in enumerate(models):
        values = vizkit.attribute(model, photo, targets=shared(models, photo)).values["grad_cam"]
        heat = values["stride32"][0, 0].double().numpy()
        pixels_seen = model.transform.view(photo).astype(float) @ [0.299, 0.587, 0.114]
        # in the corner, where interpolation has no neighbours, the colour is one value's
        top = np.percentile(np.abs(heat), 99.5)
        alpha = np.sqrt(np.clip(heat[0, 0] / top, 0, 1))
        colour = coloured(heat[:1, :1], 0, top, "inferno")[0, 0]
        expected = pixels_seen[:4, :4].mean() * (1 - alpha) + colour * alpha
        found = map_of(page, n)[1:5, 1:5].mean(axis=(0, 1))
        assert np.abs(found - expected).max() < 12
    assert seen.errors == []
    page.close()


def shared(models, photo):
    tables = [vizkit.predict(model, photo, k=10).set_index("index") for model in models]
    return int(sum(table["probability"] for table in tables).idxmax())


def test_pointing_shows_values_and_receptive_fields_in_all_models(page, models, photo):
    show(page, "Stage", "3")
    show(page, "Channels", "1")
    box = page.locator(".vk-map").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5.5 / 16, box["y"] + box["height"] * 9.5 / 16)
    settled(page)
    for n, model in enumerate(models):
        values = strongest(model, photo, "stride8")[0]
        words = page.locator(".vk-values").nth(n).text_content().replace("\N{MINUS SIGN}", "-")
        where, _, rest = words.partition(": ")
        assert where.endswith("x 5, y 9")
        value, _, field = rest.partition("; ")
        assert float(value) == pytest.approx(
            values[9, 5], abs=np.ptp(values) / 510 + 0.005 * abs(values[9, 5])
        )
        size = int(vizkit.profile(model).set_index("stage")["receptive_field"]["stride8"])
        assert field == f"sees {size} x {size} px"
        drawn = pixels(page.locator(".vk-photo").nth(n))
        assert (np.abs(drawn - [255, 158, 74]).max(axis=-1) < 40).sum() > 100
    page.mouse.move(2, 2)
    settled(page)
    assert page.locator(".vk-values").all_text_contents() == ["", "", ""]


def test_the_field_is_drawn_where_it_lies(page, models):
    show(page, "Stage", "1")
    box = page.locator(".vk-photo").nth(0).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    settled(page)
    drawn = pixels(page.locator(".vk-photo").nth(0))
    marked = np.argwhere(np.abs(drawn - [255, 158, 74]).max(axis=-1) < 30)
    # stride 2 of VGG11: fields of 8 pixels that begin 3 before their place, 32 of 64
    scale = box["width"] / 128
    expected = [(2 * 32 - 3) * scale, (2 * 32 + 5) * scale]
    assert [marked[:, 0].min(), marked[:, 0].max()] == pytest.approx(expected, abs=2)
    assert [marked[:, 1].min(), marked[:, 1].max()] == pytest.approx(expected, abs=2)


def test_everything_is_reached_by_keyboard(page):
    main = page.locator(".vk-main")
    stage = page.get_by_label("Stage", exact=True)
    rank = page.get_by_label("Rank by energy")
    press(page, "Home")
    assert stage.input_value() == "0"
    press(page, "ArrowLeft", "ArrowRight", "ArrowRight")
    assert stage.input_value() == "2"
    press(page, "End")
    assert stage.input_value() == "5"
    press(page, "ArrowDown", "ArrowDown", "ArrowUp", "PageDown")
    assert rank.input_value() == "18"
    press(page, "+", "+")
    assert page.get_by_label("Channels").input_value() == "4"
    press(page, "-", "Enter")
    assert page.get_by_label("Channels").input_value() == "1"
    press(page, "Enter")
    assert page.get_by_label("Channels").input_value() == "9"
    press(page, "s", "m")
    assert page.get_by_label("Colours").input_value() == "stage"
    assert page.get_by_label("Show").input_value() == "attributions"
    press(page, "Shift+ArrowRight", "Shift+ArrowUp")
    assert "x 3, y 1" in page.locator(".vk-values").first.text_content()
    page.locator(".vk-live", has_text="x 3, y 1").wait_for(state="attached")
    spoken = page.locator(".vk-live").text_content()
    assert spoken.startswith("stride 32. demo/vgg11: Grad-CAM of")
    press(page, "Escape")
    assert page.locator(".vk-values").first.text_content() == ""
    assert main.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    assert main.evaluate("e => parseFloat(getComputedStyle(e).outlineWidth)") >= 3
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.className") in {"vk-range", "vk-select"}


def test_a_click_enlarges_the_channel_in_all_models(page, models, photo):
    show(page, "Stage", "4")
    box = page.locator(".vk-map").nth(2).bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    settled(page)
    assert page.get_by_label("Rank by energy").input_value() == "7"
    assert page.get_by_label("Channels").input_value() == "1"
    for n, model in enumerate(models):
        values = strongest(model, photo, "stride16")[6]
        words = page.locator(".vk-facts").nth(n).text_content()
        assert "rank 7 of" in words
        shown = words.split("mean ")[1].split(",")[0]
        assert float(shown) == pytest.approx(values.mean(), rel=0.01)
        assert (
            f"zeros {100 * (values == 0).mean():.0f} %" in words or "." in words.split("zeros")[1]
        )
    page.locator(".vk-cell").nth(0).click()
    settled(page)
    assert page.get_by_label("Stage", exact=True).input_value() == "0"
    assert "no stride 1" in page.locator(".vk-none").nth(2).text_content()


def test_a_rank_is_whole_and_one_that_there_is(page, models, photo):
    rank = page.get_by_label("Rank by energy")
    words = page.locator(".vk-facts").last
    show(page, "Stage", "5")
    for typed, meant in [("1.5", 2), ("-3", 1), ("7", 7), ("0.2", 1), ("9999", 512)]:
        rank.fill(typed)
        rank.press("Enter")
        settled(page)
        assert f"rank {meant} of 512" in words.text_content()
        assert rank.input_value() == str(meant)
        values = strongest(models[2], photo, "stride32")[meant - 1]
        shown = words.text_content().replace("\N{MINUS SIGN}", "-").split("max ")[1].split(",")[0]
        assert float(shown) == pytest.approx(values.max(), rel=0.01, abs=1e-6)
    rank.fill("")
    rank.press("Tab")
    assert rank.input_value() == "512"
    show(page, "Stage", "0")
    most = strongest(models[0], photo, "stride1").shape[0]
    assert rank.input_value() == rank.get_attribute("max") == str(most)
    assert f"rank {most} of {most}" in page.locator(".vk-facts").first.text_content()


def test_what_is_going_on_covers_nothing(page):
    page.evaluate("document.querySelector('.vk-status').textContent = 'Score-CAM of a network'")
    before = page.locator(".vk-main").bounding_box()
    status = page.locator(".vk-status").bounding_box()
    assert status["y"] + status["height"] <= before["y"]
    tools = page.locator(".vk-toolbar").bounding_box()
    assert tools["y"] + tools["height"] <= status["y"]
    page.evaluate("document.querySelector('.vk-status').textContent = ''")
    assert page.locator(".vk-main").bounding_box() == before, "nothing moves"


def test_text_is_never_read_as_html(page):
    assert WICKED in page.title()
    assert WICKED in page.locator("h1").text_content()
    assert page.locator("img").count() == 0


def test_pictures_have_words_and_fields_have_labels(page):
    for canvas in page.locator("canvas[role=img]").all():
        assert canvas.get_attribute("aria-label")
    assert page.locator("canvas:not([role=img]):not([aria-hidden]):not(.vk-ramp)").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('select, input')].every(e => e.labels.length)"
    )
    main = page.locator(".vk-main")
    assert main.get_attribute("role") == "application"
    assert "demo/vgg11" in main.get_attribute("aria-label")
    words = main.get_attribute("aria-describedby")
    assert "stage" in page.locator(f"#{words}").text_content()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 800])
def test_themes_and_narrow_screens(browser, path, theme, width, tmp_path):
    page, seen = opened(browser, path, theme, (width, 1000))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    strip = page.locator(".vk-strip")
    assert strip.evaluate("e => e.scrollWidth <= e.clientWidth")
    picture = pixels(page.locator("body")).mean(axis=-1)
    paper = np.median(picture)
    assert (paper > 240) if theme == "light" else (paper < 40)
    assert contrast(page, ".vk-help") > 4.5
    assert seen.errors == []
    page.close()


def contrast(page, selector):
    """WCAG's contrast of a text with the ground."""
    read = """(selector) => {
      const root = getComputedStyle(document.querySelector(".vizkit"));
      const node = document.querySelector(selector);
      return [root.backgroundColor, getComputedStyle(node).color, getComputedStyle(node).opacity];
    }"""
    ground, ink, opacity = page.evaluate(read, selector)
    one, other = (np.array([float(v) for v in c[4:-1].split(",")[:3]]) for c in (ground, ink))
    other = one + (other - one) * float(opacity)
    light = [_luminance(each) for each in (one, other)]
    return (max(light) + 0.05) / (min(light) + 0.05)


def _luminance(colour):
    share = colour / 255
    linear = np.where(share <= 0.03928, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_a_key_is_a_picture_in_the_next_frame(page, capsys):
    show(page, "Channels", "1")
    press(page, "Home")
    taken, same = page.evaluate(LIMITED % KEYS)
    with capsys.disabled():
        print(f" {np.median(taken):.1f} ms ", end="")  # noqa: T201
    assert same == []


def test_the_page_is_replaced_in_one_step(explorer, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("older")
    assert explorer.save_html(str(path)) == path
    assert "older" not in path.read_text(encoding="utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(vizkit.InputError, match="no such folder"):
        explorer.save_html(tmp_path / "none" / "page.html")


def test_scripts_can_stand_in_a_page(explorer):
    assert "</script" not in explorer.canvas._esm
    assert explorer.canvas._esm.count("\nexport ") == 1
    assert "innerHTML" not in explorer.canvas._esm
    assert THEMES["light"].paper in explorer.canvas._css
