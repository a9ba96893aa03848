"""Pictures of neighbours: what stands where, and what is marked."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

import vizkit
from vizkit.plots import plot_neighbours
from vizkit.plots.style import THEMES


def table(labels):
    rows = [
        {"model": model, "query": query, "rank": rank, "image": f"b/{rank}", "similarity": -0.5}
        for model in ("first", "second")
        for query in ("a/1", "a/2")
        for rank in (1, 2)
    ]
    frame = pd.DataFrame(rows)
    if labels:
        frame["query_class"] = "a"
        frame["class"] = ["a", "b"] * 4
    return frame


def colours(*names):
    return {name: np.full((8, 8, 3), 20 * n, np.uint8) for n, name in enumerate(names, 1)}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_query_has_a_row_in_every_network(theme):
    frame = table(labels=True)
    figure = plot_neighbours(frame, colours("a/1", "a/2"), colours("b/1", "b/2"), theme=theme)
    shown = [each for each in figure.axes if each.images]
    assert len(shown) == 2 + 2 * 2 * 2
    words = [each.get_xlabel() for each in shown]
    assert words[:2] == ["a", "a"]
    assert words[2:] == ["✓ −0.50", "✗ −0.50"] * 4
    marked = {each.spines["left"].get_edgecolor() for each in shown[3::2] if each.get_frame_on()}
    assert marked == {to_rgba(THEMES[theme].series[1])}
    note = " ".join(text.get_text() for text in figure.texts)
    assert "first 50%, second 50%" in " ".join(note.split())
    assert figure.to_frame().equals(frame)


def test_without_classes_nothing_is_judged():
    figure = plot_neighbours(table(labels=False), colours("a/1"), colours("b/1", "b/2"))
    shown = [each for each in figure.axes if each.images]
    assert [each.get_xlabel() for each in shown] == ["1", *["−0.50"] * 4]
    assert not any("%" in text.get_text() for text in figure.texts)


def test_nothing_to_draw():
    with pytest.raises(vizkit.InputError, match="no neighbours to draw"):
        plot_neighbours(table(labels=False), {}, {})


def test_some_queries_from_all_over(demo):
    photos = vizkit.samples()
    figure = vizkit.show_neighbours([demo, "demo/vovnet19b"], photos, k=2, rows=2)
    assert len(figure.to_frame()) == 2 * 5 * 2
    shown = [each for each in figure.axes if each.images]
    assert len(shown) == 2 * (1 + 2 * 2)
    assert [each.get_xlabel() for each in shown[:2]] == list(photos)[:3:2]
