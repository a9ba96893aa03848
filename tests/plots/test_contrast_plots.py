"""Twins are drawn against each other, true to their numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

import vizkit
from vizkit.errors import InputError
from vizkit.plots.contrasts import plot_twins
from vizkit.results import StageStatistics

UNITS = {"std": "spread", "dead": "share of channels", "mean": "mean activation"}


def of(rows, images=3):
    """From model, stride, statistic and value."""
    parts = [
        {
            "model": m, "stride": s, "layer": f"stride{s}", "role": "act",
            "statistic": q, "value": v,
        }
        for m, s, q, v in rows
    ]  # fmt: skip
    return StageStatistics(pd.DataFrame(parts), pd.DataFrame(), images, units=UNITS)


TWINS = of(
    [
        ("net", 1, "std", 2.0), ("net", 4, "std", 1.0),
        ("net_bn", 1, "std", 3.0), ("net_bn", 4, "std", 8.0),
        ("net", 1, "dead", 0.25), ("net", 4, "dead", 0.5),
        ("net_bn", 1, "dead", 0.0), ("net_bn", 4, "dead", 0.75),
        ("net", 1, "mean", -1.0), ("net", 4, "mean", 2.0),
        ("net_bn", 1, "mean", 0.5), ("net_bn", 4, "mean", 2.0),
        ("alone", 1, "std", 7.0),
    ]
)  # fmt: skip


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.axison}


def curve(axes, n=0):
    """The points of a line; the last line of a panel is the level of no change."""
    return np.asarray(axes.lines[n].get_xydata())


def test_scales_are_divided_and_shares_subtracted():
    figure = plot_twins(TWINS)
    found = panels(figure)
    assert list(found) == ["mean activation", "spread", "share of channels"]
    assert curve(found["spread"]).tolist() == [[0, 1.5], [1, 8]]
    assert curve(found["share of channels"]).tolist() == [[0, -25], [1, 25]]
    # a mean below zero has no ratio
    assert curve(found["mean activation"]).tolist() == [[0, 1.5], [1, 0]]
    assert found["spread"].get_yscale() == "log"
    assert found["share of channels"].get_yscale() == "linear"
    assert [t.get_text() for t in found["spread"].get_xticklabels()] == ["1", "4"]


def test_no_change_is_marked():
    found = panels(plot_twins(TWINS))
    for title, level in (("spread", 1), ("share of channels", 0), ("mean activation", 0)):
        axes = found[title]
        assert set(axes.lines[-1].get_ydata()) == {level}
        assert [text.get_text() for text in axes.texts] == ["no change"]
        low, high = axes.get_ylim()
        assert low < level < high


def test_footnote_and_table():
    figure = plot_twins(TWINS, "std")
    assert "over 3 images" in " ".join(figure.get_supxlabel().split())
    rows = figure.to_frame()
    assert set(rows["model"]) == {"net"}
    assert set(rows["twin"]) == {"net_bn"}
    assert rows["change"].tolist() == [1.5, 8.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["net"]
    assert "over 1 image." in " ".join(
        plot_twins(of(ROWS_OF_ONE, images=1)).get_supxlabel().split()
    )


ROWS_OF_ONE = [("net", 1, "std", 2.0), ("net_bn", 1, "std", 2.0)]


def test_zeros_and_missing_values_are_gaps():
    rows = [("net", s, "std", v) for s, v in ((1, 0.0), (2, 1.0), (4, np.nan), (8, 1.0))]
    rows += [("net_bn", s, "std", v) for s, v in ((1, 1.0), (2, 2.0), (4, 1.0), (8, 0.0))]
    figure = plot_twins(of(rows))
    heights = curve(figure.axes[0])[:, 1]
    assert np.isnan(heights).tolist() == [True, False, True, True]
    assert "Gaps" in figure.get_supxlabel()
    nothing = plot_twins(of([("net", 1, "std", 0.0), ("net_bn", 1, "std", 0.0)]))
    assert "no value anywhere" in [text.get_text() for text in nothing.axes[0].texts]


def test_a_statistic_that_no_twins_share_is_an_empty_panel():
    rows = [*ROWS_OF_ONE, ("net_bn", 1, "gamma", 1.0)]
    figure = plot_twins(of(rows), ["std", "gamma"])
    texts = [text.get_text() for text in panels(figure)["gamma"].texts]
    assert "no value anywhere" in texts


def test_each_depth_has_its_colour():
    rows = [(f"vgg{n}{bn}", 1, "std", 1.0) for n in (11, 13) for bn in ("", "_bn")]
    for theme, colours in (("light", ("#0072b2", "#d55e00")), ("dark", ("#56b4e9", "#ff9e4a"))):
        figure = plot_twins(of(rows), theme=theme)
        drawn = [to_rgb(line.get_color()) for line in figure.axes[0].lines[:2]]
        assert drawn == [to_rgb(colour) for colour in colours]


def test_twins_with_sources_and_tags():
    names = ["tv/vgg16.in1k", "tv/vgg16_bn.in1k", "vgg16_bn"]
    table = plot_twins(of([(name, 1, "std", 1.0) for name in names])).to_frame()
    assert table[["model", "twin"]].to_numpy().tolist() == [names[:2]]


def test_errors_name_what_is_wrong():
    with pytest.raises(InputError, match="no batch-normalised twins among one, other_bn"):
        plot_twins(of([("one", 1, "std", 1.0), ("other_bn", 1, "std", 1.0)]))
    with pytest.raises(InputError, match="unknown statistic 'stdd'; did you mean 'std'"):
        plot_twins(TWINS, "stdd")
    with pytest.raises(InputError, match="theme"):
        plot_twins(TWINS, theme="blue")
    with pytest.raises(InputError, match="no statistic at a stage in common: net and net_bn"):
        plot_twins(of([("net", 1, "std", 1.0), ("net_bn", 2, "std", 1.0)]))
    frame = TWINS.frame.assign(layer="conv1_1")
    with pytest.raises(InputError, match="stages"):
        plot_twins(StageStatistics(frame, pd.DataFrame(), 1))


def test_real_twins(tmp_path):
    models = ["demo/vgg11", "demo/vgg11_bn"]
    statistics = vizkit.describe(models, list(vizkit.samples().values())[:2])
    figure = plot_twins(statistics)
    assert len(panels(figure)) == 5
    own = statistics.pivot("std").xs(4, level="stride").iloc[0]
    rows = figure.to_frame()
    row = rows[(rows["statistic"] == "std") & (rows["stride"] == 4)].iloc[0]
    assert row["change"] == pytest.approx(own["demo/vgg11_bn"] / own["demo/vgg11"])
    first = figure.save(tmp_path / "a.png").read_bytes()
    assert plot_twins(statistics).save(tmp_path / "b.png").read_bytes() == first
