"""Layers with long names, on saved pages in a real browser: names, and what is in sight."""

import pytest
from browsing import Watch

from vizkit.widgets import explore

pytestmark = pytest.mark.browser
VIEWS = {"maps": ".vk-strip", "comparison": ".vk-table"}


@pytest.fixture(scope="module")
def pages(models, photo, tmp_path_factory):
    found = explore([models[0], models[2]], {"chelsea": photo})
    found.controls.read_at.value = "layers, convolutions"
    found.wait(60)
    folder = tmp_path_factory.mktemp("layers")
    paths = {}
    for view in VIEWS:
        found.canvas.view = view
        paths[view] = found.save_html(folder / f"{view}.html")
    yield paths, found.canvas.scene["places"]
    found.close_all()


@pytest.fixture(params=VIEWS)
def shown(request, browser, pages):
    paths, _ = pages
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(5000)
    seen = Watch(page)
    page.goto(paths[request.param].as_uri())
    page.locator(f"{VIEWS[request.param]} .vk-head").first.wait_for()
    page.locator(".vk-main").focus()
    yield page, VIEWS[request.param]
    assert seen.errors == []
    page.close()


def in_sight(page, table, head):
    """Whether all of a column's head is seen, beside the names that stay."""
    return page.evaluate(
        """([table, head]) => {
          const [own, all, corner] = [head, table, `${table} .vk-corner`].map(
            (each) => document.querySelector(each).getBoundingClientRect(),
          );
          return own.left >= Math.max(all.left, corner.right) - 1 && own.right <= all.right + 1;
        }""",
        [table, f"{table} {head}"],
    )


@pytest.mark.parametrize("width", [1280, 420])
def test_all_layers_are_told_apart_by_what_is_seen_of_their_names(shown, pages, width):
    page, table = shown
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(150)
    heads = page.locator(f"{table} .vk-head:not(.vk-head-photo)")
    names = heads.all_text_contents()
    assert len(set(names)) == len(names) == len(pages[1])
    whole = "all => all.every((e) => e.scrollWidth <= e.clientWidth + 1)"
    assert heads.evaluate_all(whole), "no name is cut"
    assert heads.evaluate_all("all => all.map((e) => e.title)") == pages[1]
    options = page.get_by_label("Stage", exact=True).locator("option")
    assert options.all_text_contents() == names
    assert options.evaluate_all("all => all.map((e) => e.title)") == pages[1]
    long = [n for n, name in enumerate(pages[1]) if name.startswith("stages.")]
    assert len(long) > 20
    for n in long:
        stage, _, rest = pages[1][n].removeprefix("stages.").partition(".blocks.0.")
        assert names[n] == f"\N{HORIZONTAL ELLIPSIS}{stage}.{rest}"


def test_the_chosen_layer_stays_in_sight_when_the_window_changes(shown):
    page, table = shown
    page.keyboard.press("End")
    page.wait_for_timeout(150)
    assert in_sight(page, table, ".vk-chosen")
    page.set_viewport_size({"width": 700, "height": 1000})
    page.wait_for_timeout(250)
    assert in_sight(page, table, ".vk-chosen")


def test_home_leads_back_to_the_very_beginning(shown):
    page, table = shown
    page.set_viewport_size({"width": 700, "height": 1000})
    page.keyboard.press("End")
    page.wait_for_timeout(150)
    assert page.locator(table).evaluate("e => e.scrollLeft") > 0
    page.keyboard.press("Home")
    page.wait_for_timeout(150)
    assert page.locator(table).evaluate("e => e.scrollLeft") == 0
    assert in_sight(page, table, ".vk-head:not(.vk-corner)"), "the photo's column, if there is one"
