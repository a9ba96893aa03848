"""Pictures of similarity show the matrix they are given, on one scale."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import vizkit
from vizkit.errors import InputError
from vizkit.plots import plot_similarity
from vizkit.results import Similarity

themes = pytest.mark.parametrize("theme", ["light", "dark"])
STRIDES = (1, 2, 4, 8, 16, 32)


def made(models, strides=STRIDES, layers=False):
    """Numbers of no network: low outside [0, 1] once, and distinct."""
    labels = pd.DataFrame([
        {"model": m, "tap": f"conv{s}" if layers else f"stride{s}", "stride": s, "layer": "",
         "role": "act"}
        for m in models for s in strides
    ])  # fmt: skip
    count = len(labels)
    values = np.linspace(-0.05, 0.9, count * count).reshape(count, count)
    matrix = (values + values.T) / 2
    np.fill_diagonal(matrix, 1)
    return Similarity(matrix, labels, matrix - 0.02, matrix + 0.02, 100, 4)


def words_of(figure):
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_visible()]


def heat_of(figure):
    return figure.axes[0].images[0]


@themes
def test_two_models_are_drawn_against_each_other_with_numbers(theme):
    found = made(["a", "b"])
    found.matrix[1, 9] = found.matrix[9, 1] = 0.97
    figure = plot_similarity(found, theme=theme)
    assert np.array_equal(heat_of(figure).get_array(), found.matrix[:6, 6:])
    assert (heat_of(figure).norm.vmin, heat_of(figure).norm.vmax) == (0, 1)
    words = words_of(figure)
    assert sum(word == "0.97" for word in words) == 1
    assert "a: stride of the stage" in words
    # every row's best is framed twice, dark and bright
    corners = [patch.get_xy() for patch in figure.axes[0].patches]
    best = [(int(x + 0.5), int(y + 0.5)) for x, y in corners[::2]]
    assert best == [(int(row.argmax()), y) for y, row in enumerate(found.matrix[:6, 6:])]
    assert any("Framed: the best match" in word for word in words)
    assert len(figure.to_frame()) == 12 * 13 / 2


@themes
def test_several_models_are_blocks_with_twins_side_by_side(theme):
    found = made(["vgg11", "vovnet", "vgg11_bn"])
    figure = plot_similarity(found, theme=theme)
    order = [*range(6), *range(12, 18), *range(6, 12)]
    assert np.array_equal(heat_of(figure).get_array(), found.matrix[np.ix_(order, order)])
    names = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert names == ["vgg11", "vgg11_bn", "vovnet"]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels(minor=True)][:3] == ["1", "2", "4"]
    assert any("Values below 0" in word for word in words_of(figure))
    # two lines across and two down
    assert len(figure.axes[0].lines) == 4


def test_models_can_be_chosen():
    found = made(["a", "b", "c"])
    assert heat_of(plot_similarity(found, models=["c", "a"])).get_array().shape == (6, 6)
    assert "c: stride of the stage" in words_of(plot_similarity(found, models=["c", "a"]))
    assert heat_of(plot_similarity(found, models=["b"])).get_array().shape == (6, 6)
    with pytest.raises(InputError, match="unknown model 'd'"):
        plot_similarity(found, models=["d"])
    with pytest.raises(InputError, match="no models: choose from"):
        plot_similarity(found, models=[])


def test_nothing_overlaps_or_leaves_the_picture_with_nine_models():
    figure = plot_similarity(made([f"demo/vovnet{n}b" for n in range(9)]))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        for minor in (True, False):
            labels = axis.get_minorticklabels() if minor else axis.get_majorticklabels()
            boxes = [label.get_window_extent() for label in labels]
            for one, other in itertools.pairwise(boxes):
                assert not one.overlaps(other)
            for box in boxes:
                assert box.x0 >= 0
                assert box.y0 >= 0


def test_many_layers_are_named_as_far_as_there_is_room():
    figure = plot_similarity(made(["a", "b", "c"], range(50), layers=True))
    assert any("Of every 2 layers one is named" in word for word in words_of(figure))
    assert len(figure.axes[0].get_xticklabels(minor=True)) == 75


def test_gaps_are_crossed_and_different_inputs_told():
    found = made(["a", "b"])
    found.matrix[2] = found.matrix[:, 2] = np.nan
    found.transforms.update(a="128 px", b="224 px")
    figure = plot_similarity(found)
    assert len(figure.axes[0].collections[0].get_offsets()) == 6
    assert len(figure.axes[0].patches) == 2 * 5
    assert any("different inputs: 128 px; 224 px" in " ".join(w.split()) for w in words_of(figure))


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    files = [plot_similarity(made(["a", "b"])).save(tmp_path / f"{n}.png") for n in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_show_similarity():
    photos = list(vizkit.samples().values())[:4]
    figure = vizkit.show_similarity(["demo/vgg11", "demo/vovnet19b"], photos, bootstrap=0)
    assert heat_of(figure).get_array().shape == (6, 5)
