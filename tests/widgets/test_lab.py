"""The explorer in a real JupyterLab: every field by mouse and keyboard, pixels, both themes."""

import numpy as np
import pytest
from browsing import KEYS, LIMITED, MODELS, ask, pixels, until
from matplotlib import colormaps
from PIL import Image

import vizkit

pytestmark = pytest.mark.browser
CELL = f"""import torch, vizkit, vizkit.widgets
torch.set_num_threads(1)
ex = vizkit.widgets.explore({MODELS})
ex"""


@pytest.fixture(scope="module")
def opened(lab, browser):
    page, seen = lab.open(browser, lab.write("explorer.ipynb", CELL))
    yield page, seen
    page.context.close()


@pytest.fixture
def page(opened):
    found, seen = opened
    yield found
    assert found.evaluate("window.trouble") == []
    assert seen.errors == []
    assert seen.elsewhere("http://127.0.0.1:", "ws://127.0.0.1:") == []


def field(page, label):
    return page.get_by_label(label, exact=True)


def choose(page, label, value):
    field(page, label).select_option(value)


def typed(page, label, text):
    """Type into a field, and leave it by Enter."""
    field(page, label).fill(text)
    field(page, label).press("Enter")


def press(page, *keys):
    page.locator(".vk-main").focus()
    for key in keys:
        page.keyboard.press(key)


def enlarged(page, stage):
    """Show the strongest channel of a stage alone, colours by its own range, by mouse."""
    choose(page, "Show", "maps")
    choose(page, "Stage", stage)
    choose(page, "Channels", "1")
    choose(page, "Colours", "panel")
    field(page, "Rank by energy").fill("1")
    page.wait_for_timeout(150)


def assert_map(page, n, model, photo, stage):
    """Compare the picture of a model with its strongest channel."""
    assert_map_in(pixels(page.locator(".vk-map").nth(n)), model, photo, stage)


def assert_map_in(picture, model, photo, stage):
    maps = vizkit.capture(model, photo)[stage][0].double().numpy()
    values = maps[np.square(maps).sum(axis=(1, 2)).argmax()]
    rows, columns = ((np.arange(k) + 0.5) / k for k in values.shape)
    ys, xs = (
        (at * size).astype(int) for at, size in zip((rows, columns), picture.shape, strict=False)
    )
    share = (values - values.min()) / np.ptp(values)
    near = [255 * colormaps["viridis"](share + by / 255)[..., :3] for by in (-1, -0.5, 0, 0.5, 1)]
    found = picture[np.ix_(ys, xs)]
    assert np.min([np.abs(found - each).max(axis=-1) for each in near], axis=0).max() <= 3


def test_the_first_picture_is_captures(page, models):
    enlarged(page, "stride 16")
    for n, model in enumerate(models):
        assert_map(page, n, model, vizkit.samples()["astronaut"], "stride16")
    until(page, "ex.canvas.tiles == 1 and ex.canvas.place == 4")


def test_photo_model_and_layers_by_mouse(page, models):
    choose(page, "Photo", "coffee")
    until(page, "ex.canvas.scene['image'] == 'coffee'")
    choose(page, "Model 4", "demo/vgg13")
    until(page, "len(ex.look.maps) == 4")
    enlarged(page, "stride 16")
    coffee = vizkit.samples()["coffee"]
    for n, model in enumerate([*models, vizkit.load("demo/vgg13", device="cpu")]):
        assert_map(page, n, model, coffee, "stride16")
    choose(page, "Model 4", "\N{EM DASH}")
    until(page, "len(ex.look.maps) == 3")
    choose(page, "Read at", "layers, convolutions")
    until(page, "'conv3_2' in ex.canvas.scene['places']")
    page.locator(".vk-strip .vk-head", has_text="conv3_2").wait_for()
    choose(page, "Read at", "stages")
    until(page, "ex.canvas.scene['places'][0] == 'stride 1'")


def test_class_and_method(page, models):
    typed(page, "Class", "church")
    until(page, "ex.canvas.heat['targets'][0]['class'] == 'church'")
    choose(page, "Attribution", "Saliency (input)")
    until(page, "ex.canvas.heat['level'] == 'input'")
    choose(page, "Attribution", "Grad-CAM (stage)")
    until(page, "ex.canvas.heat['method'] == 'Grad-CAM'")
    choose(page, "Stage", "stride 16")
    press(page, "m")
    page.locator(".vk-facts", has_text="Grad-CAM of church").first.wait_for()
    coffee = vizkit.samples()["coffee"]
    for n, model in enumerate(models):
        values = vizkit.attribute(model, coffee, targets="church").values["grad_cam"]["stride16"]
        shown = page.locator(".vk-facts").nth(n).text_content().split(": ")[1]
        if values.max() == 0:
            assert shown == "zero everywhere"
        else:
            assert float(shown.split(" to ")[1]) == pytest.approx(values.max().item(), rel=0.01)
    choose(page, "Show", "maps")


def test_all_stages_beside_each_other(page, models):
    """The strongest channel of every stage, by itself, in cells as capture has it."""
    choose(page, "Show", "comparison")
    choose(page, "In each cell", "channel")
    choose(page, "Colours", "panel")
    field(page, "Rank by energy").fill("1")
    page.wait_for_timeout(200)
    frames = page.locator(".vk-table .vk-cell .vk-frame")
    coffee = vizkit.samples()["coffee"]
    for which, model, stage in [(4, models[0], "stride16"), (15, models[2], "stride16")]:
        assert_map_in(pixels(frames.nth(which)), model, coffee, stage)
    press(page, "End", "ArrowUp", "Enter")
    until(page, "ex.canvas.view == 'maps' and ex.canvas.place == 5 and ex.canvas.row == 0")


def test_what_is_wrong_is_said_in_the_widget(page):
    typed(page, "Class", "curch")
    page.locator(".vk-message", has_text="did you mean 'church'").wait_for()
    shown(page, "Class", "church")
    typed(page, "Class", "parachute")
    until(page, "ex.canvas.message == '' and not ex._work.busy")
    typed(page, "Path", "/nowhere.jpg")
    page.locator(".vk-message", has_text="no such image").wait_for()
    typed(page, "Other model", "vgg99")
    page.locator(".vk-message", has_text="unknown model").wait_for()
    shown(page, "Model 4", "\N{EM DASH}")
    shown(page, "Model 3", MODELS[2])
    assert field(page, "Model 1").locator("option", has_text="vgg99").count() == 0
    for n in (1, 2):
        choose(page, f"Model {n}", "\N{EM DASH}")
    until(page, "len(ex.look.maps) == 1 and not ex._work.busy")
    choose(page, "Model 3", "\N{EM DASH}")
    page.locator(".vk-message", has_text="no model is chosen").wait_for()
    shown(page, "Model 3", MODELS[2])
    for n in (1, 2):
        choose(page, f"Model {n}", MODELS[n - 1])
    until(page, "ex.canvas.message == '' and not ex._work.busy and len(ex.look.maps) == 3")


def shown(page, label, value):
    """Wait until a field says what the picture shows."""
    read = "e => e.selectedOptions?.[0].textContent ?? e.value"
    for _ in range(200):
        said = field(page, label).evaluate(read).replace("\N{NO-BREAK SPACE}", " ")
        if said == value:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{label}: {said!r}, not {value!r}")


def test_paths_and_uploads(page, tmp_path, models):
    rocket = vizkit.samples()["rocket"]
    name = "<b>rocket.png"
    rocket.save(tmp_path / name)
    typed(page, "Path", str(tmp_path / name))
    until(page, "ex.canvas.scene['image'] == '<b>rocket.png'")
    turned = rocket.rotate(180)
    turned.save(tmp_path / "turned.png")
    chosen(page, tmp_path / "turned.png")
    until(page, "ex.canvas.scene['image'] == 'turned.png'")
    enlarged(page, "stride 32")
    assert_map(page, 0, models[0], turned, "stride32")
    assert page.locator("option b").count() == 0


def test_several_photos_at_once_and_what_is_wrong_with_one(page, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image at all")
    vizkit.samples()["chelsea"].save(tmp_path / "good.png")
    chosen(page, [tmp_path / "bad.png", tmp_path / "good.png"])
    until(page, "ex.canvas.scene['image'] == 'good.png' and not ex._work.busy")
    page.locator(".vk-message", has_text="bad.png: not an image").wait_for()
    assert "still shows" not in page.locator(".vk-message").text_content()


def test_cancel_stops_all_photos_of_an_upload(page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2300, 2300, 3), dtype=np.uint8)
    paths = [tmp_path / f"many{n}.png" for n in range(3)]
    for path in paths:
        Image.fromarray(noise).save(path, compress_level=0)
    page.evaluate(CANCELLED)
    chosen(page, paths)
    page.locator(".vk-message", has_text="Cancelled").wait_for()
    # whatever else is sent, is there by now
    page.wait_for_timeout(1500)
    assert page.locator(".vk-message", has_text="Cancelled").is_visible()
    assert not any(name.startswith("many") for name in ask(page, "ex._album.names"))
    assert ask(page, "[ex.canvas.busy, ex.canvas.scene['image']]") == ["", "good.png"]
    choose(page, "Photo", "turned.png")
    until(page, "ex.canvas.message == '' and not ex._work.busy")


def chosen(page, path):
    """Choose files by the button, which opens the browser's own window."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a photo").click()
    chooser.value.set_files(path)


def test_a_photo_larger_than_the_servers_messages(page, tmp_path, models):
    noise = np.random.default_rng(0).integers(0, 256, (2300, 2300, 3), dtype=np.uint8)
    noise[::2] = 0
    path = tmp_path / "large.png"
    Image.fromarray(noise).save(path, compress_level=0)
    assert path.stat().st_size > 15e6
    page.evaluate(WATCHED)
    chosen(page, path)
    until(page, "ex.canvas.scene['image'] == 'large.png'")
    enlarged(page, "stride 8")
    assert_map(page, 0, models[0], Image.open(path), "stride8")
    seen = page.evaluate("window.told")
    assert any(text.startswith("Uploading: ") for text in seen), "progress is shown"
    assert ask(page, "ex.canvas.busy") == ""


def test_a_photo_that_is_too_large_is_refused_in_words(page, tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(101 << 20)
    chosen(page, path)
    page.locator(".vk-message", has_text="huge.png: 106 MB are too many to upload").wait_for()
    assert ask(page, "ex.canvas.scene['image']") == "large.png"
    choose(page, "Photo", "coffee")
    until(page, "ex.canvas.message == '' and not ex._work.busy")


def test_top_patches_by_keyboard_follow_the_channel_without_python(page, models):
    page.get_by_role("button", name="Find top patches").focus()
    page.keyboard.press("Enter")
    until(page, "ex.canvas.patches and not ex._work.busy")
    sent = ask(page, "len(ex.canvas.patches_data)")
    choose(page, "Stage", "stride 4")
    field(page, "Rank by energy").fill("1")
    names = page.locator(".vk-panel").first.locator(".vk-patch-name")
    for rank in range(2):
        press(page, *["ArrowDown"] * rank)
        page.wait_for_timeout(150)
        words = page.locator(".vk-facts").first.text_content()
        channel = int(words.removeprefix("channel ").split(",")[0])
        assert f"channel {channel} of demo/vgg11" in page.locator(
            ".vk-patch canvas"
        ).first.get_attribute("aria-label")
        photos = ask(page, "ex.canvas.patches['photos']")
        assert set(names.all_text_contents()) <= set(photos)
    assert ask(page, "len(ex.canvas.patches_data)") == sent
    assert pixels(page.locator(".vk-patch canvas").first).std() > 2
    press(page, "ArrowUp")


def test_slow_work_can_be_stopped(page):
    choose(page, "Attribution", "Score-CAM (stage)")
    page.locator(".vk-status", has_text="Score-CAM").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator(".vk-message", has_text="Cancelled").wait_for()
    assert ask(page, "ex.canvas.busy") == ""
    shown(page, "Attribution", "Grad-CAM (stage)")
    choose(page, "Photo", "chelsea")
    until(page, "ex.canvas.message == '' and not ex._work.busy")
    assert ask(page, "ex.canvas.heat['method']") == "Grad-CAM"


def test_fields_are_reached_and_moved_by_keyboard(page):
    field(page, "Model 1").focus()
    reached = [label(page)]
    for _ in range(18):
        page.keyboard.press("Tab")
        reached.append(label(page))
    wanted = [
        "Model 1",
        "Model 4",
        "Other model",
        "Photo",
        "Path",
        "Class",
        "Attribution",
        "Read at",
    ]
    wanted += ["Show", "Stage", "Channels", "Rank by energy", "Colours"]
    assert [each for each in reached if each in wanted] == wanted
    field(page, "Attribution").focus()
    page.keyboard.press("ArrowDown")
    until(page, "ex.canvas.heat['method'] == 'Grad-CAM++'")
    field(page, "Photo").focus()
    page.keyboard.press("Home")
    until(page, "ex.canvas.scene['image'] == 'astronaut'")
    field(page, "Class").focus()
    page.keyboard.type("parachute")
    page.keyboard.press("Enter")
    until(page, "ex.canvas.heat['targets'][0]['class'] == 'parachute'")


def label(page):
    return page.evaluate(
        "document.activeElement.ariaLabel || document.activeElement.labels?.[0]?.textContent || ''"
    )


def test_keys_in_the_picture_are_the_pictures_own(page):
    choose(page, "Channels", "16")
    press(page, "Home", "ArrowRight", "ArrowDown", "m", "s", "Enter")
    until(page, "ex.canvas.place == 1 and ex.canvas.rank == 1 and ex.canvas.tiles == 1")
    assert ask(page, "[ex.canvas.view, ex.canvas.scale]") == ["attributions", "stage"]
    press(page, "m", "m", "Enter")
    press(page, "Shift+ArrowRight")
    until(page, "ex.canvas.pixel == [33.5 / 64, 32.5 / 64]")
    state = """() => {
      const { content } = window.jupyterapp.shell.currentWidget;
      return [content.mode, content.activeCellIndex, content.widgets.map((c) => c.model.type)];
    }"""
    mode, _, kinds = page.evaluate(state)
    assert mode == "command"
    assert kinds == ["code"], "M is not JupyterLab's, which would make the cell text"


def test_python_moves_the_picture_too(page):
    ask(page, "setattr(ex.canvas, 'place', 5) or setattr(ex.canvas, 'view', 'maps')")
    page.locator(".vk-strip .vk-head.vk-chosen", has_text="stride 32").wait_for()
    assert field(page, "Show").input_value() == "maps"


SLEEP = """() => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  const code = "import time; time.sleep(60)";
  window.busy = true;
  kernel.requestExecute({ code }).done.then(() => (window.busy = false));
}"""


def test_a_key_is_a_picture_in_the_next_frame_while_python_is_busy(page, capsys):
    """The time is printed: how much of it others on the machine take is not the page's."""
    enlarged(page, "stride 1")
    page.evaluate(SLEEP)
    taken, same = page.evaluate(LIMITED % KEYS)
    with capsys.disabled():
        print(f" {np.median(taken):.1f} ms ", end="")  # noqa: T201
    assert same == []
    assert page.evaluate("window.busy")
    page.evaluate("window.jupyterapp.commands.execute('kernelmenu:interrupt')")
    page.wait_for_function("() => window.trouble.length")
    assert "KeyboardInterrupt" in page.evaluate("window.trouble.pop()")
    until(page, "ex.canvas.rank >= 0")


def test_two_fields_fit_beside_each_other_in_a_narrow_output(page, tmp_path):
    page.set_viewport_size({"width": 800, "height": 1000})
    page.evaluate("window.jupyterapp.shell.expandLeft()")
    page.wait_for_timeout(400)
    page.locator(".vk-fields").scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "narrow.png")
    box = page.locator(".vizkit-explorer").bounding_box()
    assert box["width"] < 400
    fields = page.locator(".vk-fields > :visible")
    tops = {round(each.bounding_box()["y"] / 8) for each in fields.all()}
    assert len(tops) <= 8
    for each in fields.all():
        own = each.bounding_box()
        assert own["x"] + own["width"] <= box["x"] + box["width"] + 1
    page.evaluate("window.jupyterapp.shell.collapseLeft()")
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.wait_for_timeout(200)
    page.locator(".vk-fields").scroll_into_view_if_needed()


@pytest.mark.parametrize("theme", ["Dark", "Light"])
@pytest.mark.parametrize("width", [1280, 800])
def test_themes_and_widths(page, theme, width, tmp_path):
    page.set_viewport_size({"width": width, "height": 1000})
    change = f"apputils:change-theme', {{ theme: 'JupyterLab {theme}' }}"
    page.evaluate(f"window.jupyterapp.commands.execute('{change})")
    page.wait_for_function(
        f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'"
    )
    page.wait_for_timeout(400)
    page.screenshot(path=tmp_path / f"lab-{theme}-{width}.png")
    paper = pixels(page.locator(".vizkit"))[2:5, 2:5].mean()
    assert (paper > 230) if theme == "Light" else (paper < 40)
    # pictures are still there
    assert pixels(page.locator(".vk-cell canvas").first).std() > 2
    for part in (".vizkit", ".vk-strip"):
        assert page.locator(part).evaluate("e => e.scrollWidth <= e.clientWidth"), part
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_a_saved_notebook_shows_the_picture_without_running(opened, lab, browser, models):
    page, _ = opened
    choose(page, "Photo", "chelsea")
    until(page, "ex.canvas.scene['image'] == 'chelsea'")
    press(page, "Escape")
    enlarged(page, "stride 8")
    page.evaluate(LIMITED % SAVE)
    (lab.folder / "saved.ipynb").write_bytes((lab.folder / "explorer.ipynb").read_bytes())
    page.context.close()
    other, seen = lab.open(browser, "saved.ipynb", run=False)
    other.wait_for_timeout(500)
    for n, model in enumerate(models):
        assert_map(other, n, model, vizkit.samples()["chelsea"], "stride8")
    press(other, "ArrowRight")
    other.locator(".vk-strip .vk-head.vk-chosen", has_text="stride 16").wait_for()
    assert seen.errors == []
    other.context.close()


# what the upload's own status says, from now on
WATCHED = """() => {
  const button = [...document.querySelectorAll("button")].find((b) => /Upload/.test(b.textContent));
  const status = button.parentNode.querySelector("[role=status]");
  window.told = [];
  const note = () => window.told.push(status.textContent.trim());
  new MutationObserver(note).observe(status, { childList: true });
}"""
# presses Cancel as soon as it can be
CANCELLED = """() => {
  const named = (b) => b.textContent.trim() === "Cancel" && b.closest(".vizkit-explorer");
  const button = [...document.querySelectorAll("button")].find(named);
  const press = () => {
    if (button.disabled) requestAnimationFrame(press);
    else button.click();
  };
  press();
}"""
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"
