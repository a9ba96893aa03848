"""Names that are scripts, in everything that a browser shows: they are text, and stay text."""

import functools
import http.server
import re
import threading
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

import vizkit

pytestmark = pytest.mark.browser

# each would set window.ran where it is taken for more than text
NAMES = (
    "<script>window.ran=1</script>",
    '<img src=x onerror="window.ran=1">',
    "\"'><svg onload=window.ran=1>",
    "</title></style></script><script>window.ran=1</script>",
    "' autofocus onfocus='window.ran=1",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.ran=1",
    "--><!--<script>window.ran=1</script>-->",
    "$x$ & &amp; &lt;b&gt;",
    "=HYPERLINK(1)",
)
FAMILIES = ("file", "http")


@pytest.fixture(scope="module")
def models():
    """Two networks with names and classes of this kind."""
    return [
        vizkit.wrap(
            vizkit.load(name, device="cpu").module,
            name=f"{word} {name}",
            classes=NAMES,
            transform=vizkit.Transform((64, 64), (64, 64)),
        )
        for name, word in zip(("demo/vgg11", "demo/vgg11_bn"), NAMES[:2], strict=True)
    ]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos in folders of these names, one of which cannot be read."""
    root = tmp_path_factory.mktemp("photos") / "images"
    found = list(vizkit.samples().values())
    for n in (0, 1, 4):
        # a stroke that looks like the one which no file name may have
        own, *names = (each.replace("/", "\u2044") for each in (NAMES[n], *NAMES[n : n + 2]))
        (root / own).mkdir(parents=True)
        for name in names:
            found[n].resize((80, 70)).save(root / own / f"{name}.png", "PNG")
    (root / NAMES[1] / f"{NAMES[4]} bad.png").write_text("no image")
    return root


@pytest.fixture(scope="module")
def page(models, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "report"
    options = {"methods": "grad_cam", "max_images": 1, "speed": False, "quick": True}
    return vizkit.report(models, photos, out, **options)


@pytest.fixture(scope="module")
def served(page):
    """The folder above the report as a server gives it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(page.parents[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Seen:
    """A page, and what it did that it should not do."""

    def __init__(self, browser, address, theme="light"):
        self.page = browser.new_page(color_scheme=theme, viewport={"width": 1200, "height": 900})
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.goto(address)

    def _hear(self, message):
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.close()

    @property
    def ran(self):
        """Whether a name was taken for a script; it may need a moment, or a touch."""
        self.page.evaluate("document.querySelectorAll('*').forEach((e) => e.focus?.())")
        self.page.wait_for_timeout(200)
        return self.page.evaluate("window.ran === 1")


def address(path, kind, served):
    return path.as_uri() if kind == "file" else f"{served}/{path.parent.name}/{path.name}"


def without_policy(path):
    """The same page with nothing but escaping to protect it."""
    text = path.read_text("utf-8")
    bare, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert count == 1
    other = path.with_name("bare.html")
    other.write_text(bare, "utf-8")
    return other


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_report_shows_all_and_runs_nothing(browser, page, served, kind):
    with Seen(browser, address(page, kind, served)) as seen:
        found = seen.page
        found.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        found.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        # the policy lets no function be made of text in the page: it is asked again and again
        for _ in range(600):
            if found.evaluate("[...document.images].every(i => i.complete)"):
                break
            found.wait_for_timeout(50)
        assert found.evaluate("document.images.length") > 5
        assert found.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        assert (
            found.evaluate("getComputedStyle(document.querySelector('.frame')).maxWidth")
            == "1440px"
        )
        found.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
        found.locator("summary").first.click()
        assert found.evaluate("document.querySelector('details').open")
        found.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert found.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
        assert not seen.ran
        assert seen.errors == []
        home = page.parent.as_uri() if kind == "file" else served
        assert all(each.url.startswith((home, "data:")) for each in seen.requests)
        text = found.inner_text("body")
        for name in NAMES[:2]:
            assert name in text


def test_escaping_alone_holds(browser, page):
    with Seen(browser, without_policy(page).as_uri()) as seen:
        assert not seen.ran
        assert seen.errors == []


def test_the_policy_alone_holds(browser, page):
    """Were anything not escaped, it would not run; without the policy it would."""
    text = page.read_text("utf-8")
    for raw in NAMES[:2]:
        wrong = page.with_name("wrong.html")
        wrong.write_text(text.replace("<h1>", f"{raw}<h1>"), "utf-8")
        with Seen(browser, wrong.as_uri()) as seen:
            assert not seen.ran
            assert any("Content Security Policy" in each for each in seen.errors), seen.errors
        with Seen(browser, without_policy(wrong).as_uri()) as seen:
            assert seen.ran, "else this test could not fail"


def test_nothing_is_sent_away(browser, page):
    text = page.read_text("utf-8")
    stolen = page.with_name("wrong.html")
    away = '<img src="https://example.org/a"><form action="https://example.org"><button>x</button></form>'
    stolen.write_text(
        text.replace("<h1>", f"{away}<base href='https://example.org/'><h1>"), "utf-8"
    )
    with Seen(browser, stolen.as_uri()) as seen:
        seen.page.evaluate("document.querySelector('button').click()")
        seen.page.wait_for_timeout(200)
        # the browser tells what it would have asked for, too
        away = [each.failure for each in seen.requests if "example.org" in each.url]
        assert set(away) <= {"csp"}
        assert seen.page.evaluate("document.images[1].src").startswith("file:")


def test_links_open(browser, page, served):
    with Seen(browser, address(page, "http", served)) as seen:
        links = seen.page.evaluate("[...document.links].map((each) => each.href)")
        inside = {each.split("#")[1] for each in links if "#" in each}
        assert all(seen.page.locator(f"[id='{each}']").count() == 1 for each in inside)
        files = {each for each in links if "#" not in each}
        assert any(each.endswith("manifest.json") for each in files)
        for each in files:
            assert seen.page.request.get(each).ok, each
        seen.page.locator("figure a").first.click()
        assert seen.page.url.endswith(".png")


@pytest.fixture(scope="module")
def canvas_page(models, photos, tmp_path_factory):
    explorer = vizkit.explore(models, photos)
    try:
        path = explorer.save_html(tmp_path_factory.mktemp("canvas") / "page.html")
    finally:
        explorer.close()
    return path


@pytest.mark.parametrize("bare", [False, True])
def test_the_explorer_s_page(browser, canvas_page, bare):
    path = without_policy(canvas_page) if bare else canvas_page
    with Seen(browser, path.as_uri()) as seen:
        seen.page.wait_for_selector(".vizkit canvas")
        for view in ("attributions", "comparison", "maps"):
            seen.page.get_by_label("Show").select_option(view)
            seen.page.wait_for_timeout(100)
        assert seen.page.locator("img").count() == 0
        text = seen.page.inner_text("body")
        assert NAMES[0] in text
        assert not seen.ran
        assert seen.errors == []


def test_the_explorer_s_policy_alone_holds(browser, canvas_page):
    wrong = canvas_page.with_name("wrong.html")
    wrong.write_text(
        canvas_page.read_text("utf-8").replace("<div id=", f"{NAMES[0]}{NAMES[1]}<div id="), "utf-8"
    )
    with Seen(browser, wrong.as_uri()) as seen:
        seen.page.wait_for_selector(".vizkit canvas")
        assert not seen.ran
        assert any("Content Security Policy" in each for each in seen.errors)


@pytest.mark.filterwarnings("ignore::vizkit.errors.UnreadableWarning")
def test_results_in_a_notebook(browser, models, photos, tmp_path):
    shown = [
        vizkit.capture(models[0], vizkit.samples()["rocket"]),
        vizkit.attribute(models[0], {NAMES[1]: vizkit.samples()["rocket"]}, targets=[0, 1]),
        vizkit.compare(models, photos),
        vizkit.describe(models, photos),
        vizkit.similarity(models, photos),
        vizkit.disagreement(models, photos, labelled=False),
        vizkit.top_patches(models, photos, "stride8", [0]),
        vizkit.receptive_fields(models, photos),
        vizkit.predict(models[0], photos),
    ]
    parts = [each._repr_html_() for each in shown]
    assert any("&lt;img src=x" in part for part in parts)
    path = tmp_path / "cells.html"
    path.write_text(f"<meta charset=utf-8>{''.join(parts)}", "utf-8")
    with Seen(browser, path.as_uri()) as seen:
        assert not seen.ran
        assert seen.page.locator("script, img, svg").count() == 0


def test_figures_as_svg(browser, models, tmp_path):
    photo = {NAMES[0]: vizkit.samples()["rocket"]}
    figures = {
        "why": vizkit.show_attributions(models, photo, targets=[1], stages=["stride32"]),
        "answers": vizkit.show_comparison(models[:1], photo),
    }
    for name, figure in figures.items():
        path = figure.save(tmp_path / f"{name}.svg")
        tags = {each.tag.rpartition("}")[2] for each in ElementTree.parse(path).iter()}
        assert not tags & {"script", "foreignObject", "iframe"}
        attributes = {key for each in ElementTree.parse(path).iter() for key in each.attrib}
        assert not any(key.startswith("on") for key in attributes)
        with Seen(browser, path.as_uri()) as seen:
            assert not seen.ran
            assert seen.errors == []


def test_tables_hold_names_as_they_are(models, photos, tmp_path):
    """A table is data: a name that a spreadsheet would take for a formula is not changed."""
    assert "=HYPERLINK(1)" in NAMES
    found = vizkit.predict(models[0], vizkit.samples()["rocket"], len(NAMES))
    found.to_csv(tmp_path / "a.csv", index=False)
    again = pd.read_csv(tmp_path / "a.csv")
    assert sorted(again["class"]) == sorted(NAMES)
    assert np.isclose(again["probability"].sum(), 1)
