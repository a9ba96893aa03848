"""The report in a real browser: from disk, nothing fetched, both themes, keyboard."""

import numpy as np
import pytest
from PIL import Image

import vizkit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    photos = {name: vizkit.samples()[name] for name in ("rocket", "chelsea")}
    models = ["demo/vgg11", "demo/vovnet19b"]
    out = tmp_path_factory.mktemp("page") / "report"
    return vizkit.report(models, photos, out, methods="grad_cam")


def opened(browser, path, theme):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    seen = {"requests": [], "errors": []}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.on("console", lambda m: seen["errors"].append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    until(page, "[...document.images].every(i => i.complete)")
    return page, seen


def until(page, expression):
    """Wait for something; the page's own policy lets no function be made of text in it."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_pictures_show_and_nothing_leaves_the_disk(browser, page_path, theme, tmp_path):
    page, seen = opened(browser, page_path, theme)
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    assert seen["errors"] == []
    assert all(url.startswith("file:///") for url in seen["requests"])
    shown = page.evaluate("document.images[0].currentSrc")
    assert shown.endswith("-dark.png") == (theme == "dark")
    page.screenshot(path=tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        pixels = np.asarray(picture.convert("L"), dtype=float)
    paper = np.median(pixels)
    assert (paper > 240) if theme == "light" else (paper < 40)
    assert pixels.std() > 5
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_sections_and_folds_work_by_keyboard(browser, page_path):
    page, _ = opened(browser, page_path, "light")
    assert page.locator("nav a").count() == page.locator("section").count() == 10
    summary = page.locator("summary").nth(1)
    summary.focus()
    was = page.evaluate("document.querySelectorAll('details')[1].open")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelectorAll('details')[1].open") != was
    page.locator("nav a").last.focus()
    page.keyboard.press("Enter")
    # the browser goes there when it has the time
    until(page, "location.hash === '#notes'")
    assert page.locator("img:not([alt])").count() == 0
    page.close()


def test_it_prints_with_every_fold_open(browser, page_path, tmp_path):
    page, _ = opened(browser, page_path, "light")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    # on paper every picture is the light one, also for readers of the dark page
    page.emulate_media(media="print", color_scheme="dark")
    until(page, "![...document.images].some(i => i.currentSrc.endsWith('-dark.png'))")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    page.close()


def test_it_is_usable_on_a_narrow_screen(browser, page_path):
    page = browser.new_page(viewport={"width": 420, "height": 800})
    page.goto(page_path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
