"""Pictures of distributions and of linear probes are true to their numbers."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import StepPatch

import vizkit
from vizkit.errors import InputError
from vizkit.plots import plot_distributions, plot_probe
from vizkit.plots.bins import Axis, Bins
from vizkit.plots.series import with_twins
from vizkit.results import LinearProbe, StageStatistics
from vizkit.results.axis import in_order

PLAIN, TWIN, OTHER = "net", "net_bn", "vov"
# edges as a float32 with few bits of mantissa has them: ever wider away from zero
EDGES = np.concatenate([-np.geomspace(1e-6, 1e3, 1500)[::-1], np.geomspace(1e-6, 1e3, 1500)])


def histogram(values):
    """Bins that are not empty, and exact zeros on their own."""
    zeros = int((values == 0).sum())
    counts, _ = np.histogram(values[values != 0], EDGES)
    rows = pd.DataFrame({"low": EDGES[:-1], "high": EDGES[1:], "count": counts})
    exact = pd.DataFrame({"low": [0.0], "high": [0.0], "count": [zeros]})
    every = pd.concat([rows, exact]).sort_values(["low", "high"])
    return every[every["count"] > 0]


def values_of(scale=1.0, relu=True, seed=0):
    values = np.random.default_rng(seed).normal(0, scale, 20000)
    return values.clip(min=0) if relu else values


def statistics_of(taps):
    """From model, stride, layer, role and values of each."""
    parts = [
        histogram(values).assign(model=model, stride=stride, layer=layer, role=role)
        for model, stride, layer, role, values in taps
    ]
    nothing = pd.DataFrame()
    bins = pd.concat(parts, ignore_index=True)
    return StageStatistics(nothing, nothing, images=3, distributions=bins)


@pytest.fixture(scope="module")
def stages():
    models = {TWIN: (1, 2, 4), OTHER: (2, 4), PLAIN: (1, 2, 4)}
    return statistics_of(
        (model, stride, f"stride{stride}", "act", values_of(stride))
        for model, strides in models.items()
        for stride in strides
    )


@pytest.fixture(scope="module")
def layers():
    roles = {PLAIN: ("conv", "act"), TWIN: ("conv", "norm", "act")}
    return statistics_of(
        (model, 1, f"conv1_{n}", role, values_of(60.0 if role == "conv" else 1, role == "act"))
        for model, own in roles.items()
        for n in (2, 10)
        for role in own
    )


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.axison]


def words_of(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("relu", [True, False])
def test_quantiles_and_zeros_are_those_of_the_values(relu):
    values = values_of(3.0, relu)
    bins = Bins.of(histogram(values))
    assert bins.zeros == (values == 0).mean()
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert bins.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.02, abs=1e-3)
        positive = values[values != 0]
        assert bins.others.quantile(share) == pytest.approx(
            np.quantile(positive, share), rel=0.02, abs=5e-3
        )


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_shares_are_those_of_the_values_in_each_cell(scale):
    small, large = values_of(1.0, relu=False), values_of(scale, relu=False, seed=1)
    every = [Bins.of(histogram(each)) for each in (small, large)]
    axis = Axis.for_all(every, 0.0)
    assert (axis.width is None) == (scale == 1)
    edges = axis.edges()
    paper = edges if axis.width is None else np.arcsinh(edges / axis.width)
    assert np.allclose(np.diff(paper), np.diff(paper)[0])
    assert np.abs(edges).min() < 1e-12
    shares = every[0].shares(edges)
    assert shares.sum() == pytest.approx(1)
    assert np.allclose(shares, np.histogram(small, edges)[0] / len(small), atol=2e-3)


def test_an_axis_of_zeros_alone_can_be_drawn():
    dead = statistics_of([(PLAIN, 1, "stride1", "act", np.zeros(9))])
    for kind in ("bands", "ridge"):
        assert "activation" in words_of(plot_distributions(dead, kind=kind))
    assert list(plot_distributions(dead).to_frame()["zeros"]) == [1.0]


def test_the_table_holds_what_is_drawn(stages):
    figure = plot_distributions(stages)
    table = figure.to_frame().set_index(["model", "stride"])
    expected = np.quantile(values_of(4), [0.5, 0.75, 0.95])
    assert list(table.loc[(TWIN, 4), ["median", "q75", "q95"]]) == pytest.approx(expected, rel=0.02)
    twin = next(axes for axes in figure.axes if axes.get_title() == TWIN)
    drawn = twin.lines[1].get_ydata()
    assert list(drawn) == list(table.loc[TWIN]["median"])
    assert table["count"].tolist() == [20000] * 8


def test_twins_stand_side_by_side_in_one_colour(stages):
    assert with_twins([TWIN, OTHER, PLAIN]) == [PLAIN, TWIN, OTHER]
    for kind in ("bands", "ridge"):
        assert titles(plot_distributions(stages, kind=kind)) == [PLAIN, TWIN, OTHER]
    plain, twin, other = (axes.lines[1] for axes in plot_distributions(stages).axes)
    assert plain.get_color() == twin.get_color() != other.get_color()
    assert (plain.get_linestyle(), twin.get_linestyle()) == ("--", "-")
    assert plain.get_markerfacecolor() == "#ffffff"


def test_all_panels_share_one_axis_and_join_on_the_stride(stages):
    for kind, which in (("bands", "y"), ("ridge", "x")):
        figure = plot_distributions(stages, kind=kind)
        assert len({getattr(axes, f"get_{which}lim")() for axes in figure.axes}) == 1
        ticks = "x" if kind == "bands" else "y"
        labels = [
            [text.get_text() for text in getattr(axes, f"get_{ticks}ticklabels")()]
            for axes in figure.axes
        ]
        assert labels == [["1", "2", "4"]] * 3
    bands = plot_distributions(stages).axes[2].lines[1]
    assert list(bands.get_xdata()) == [1, 2]


def test_ridges_lie_from_the_first_stage_at_the_top(stages):
    axes = plot_distributions(stages, kind="ridge").axes[0]
    filled = [patch for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_fill()]
    bases = [patch.get_data().baseline for patch in filled]
    assert bases == [0, -1, -2]
    tops = [patch.get_data().values.max() - base for patch, base in zip(filled, bases, strict=True)]
    assert tops == pytest.approx([0.88] * 3)
    # half of all values are exact zeros: told apart, so that they do not flatten the rest
    heights = [np.ptp(lines.get_segments()[0][:, 1]) for lines in axes.collections]
    shares = [(values_of(stride) == 0).mean() for stride in (1, 2, 4)]
    assert heights == pytest.approx([0.88 * share for share in shares])
    words = words_of(axes.figure)
    assert "50 %" in words
    assert "exactly 0" in words


def test_roles_of_layers_are_told_apart(layers):
    bands = plot_distributions(layers)
    assert titles(bands)[:3] == [
        f"{PLAIN}\n{role}" for role in ("convolution", "normalised", "activation")
    ]
    assert "has none" in words_of(bands)
    assert "linear near zero" in words_of(bands)
    ridge = plot_distributions(layers, kind="ridge")
    assert titles(ridge) == [PLAIN, TWIN]
    rows = [text.get_text() for text in ridge.axes[0].get_yticklabels()]
    assert rows == ["conv1_2", "conv1_10"]
    patches = [each for each in ridge.axes[1].patches if each.get_fill()]
    assert len({to_rgb(each.get_facecolor()) for each in patches}) == 3
    # on one scale: above zero, the activation is what the normalisation was
    norm, act = patches[1].get_data(), patches[2].get_data()
    above = norm.edges[:-1] >= 0
    assert np.allclose(norm.values[above], act.values[above], atol=1e-6)
    assert titles(plot_distributions(layers, role="act")) == [f"{m}\nactivation" for m in
                                                              (PLAIN, TWIN)]  # fmt: skip


def test_order_of_layers():
    assert in_order([[(1, "b"), (1, "a")], [(1, "a")]]) == [(1, "b"), (1, "a")]
    numbered = in_order([[(1, "conv10"), (2, "x")], [(1, "conv9")]])
    assert numbered == [(1, "conv9"), (1, "conv10"), (2, "x")]


def test_many_models_are_wrapped():
    found = statistics_of((f"net{n}", 1, "stride1", "act", values_of()) for n in range(5))
    for kind in ("bands", "ridge"):
        figure = plot_distributions(found, kind=kind)
        assert len(titles(figure)) == 5
        assert len(figure.axes) == 8


def test_what_cannot_be_drawn(stages):
    with pytest.raises(InputError, match="unknown kind 'ridges'; did you mean 'ridge'"):
        plot_distributions(stages, kind="ridges")
    with pytest.raises(InputError, match="unknown role 'norm'"):
        plot_distributions(stages, role="norm")
    with pytest.raises(InputError, match="unknown theme"):
        plot_distributions(stages, theme="grey")
    with pytest.raises(InputError, match="no distributions to draw"):
        plot_distributions(replace(stages, distributions=pd.DataFrame()))
    broken = stages.distributions.assign(high=np.inf)
    with pytest.raises(InputError, match="cannot draw NaN or infinity"):
        plot_distributions(replace(stages, distributions=broken))


@pytest.mark.parametrize("kind", ["bands", "ridge"])
def test_show_distributions(kind, tmp_path):
    def drawn():
        photo = vizkit.samples()["coffee"]
        return vizkit.show_distributions("demo/vgg11_bn", photo, "layers", kind=kind, theme="dark")

    figure = drawn()
    table = figure.to_frame().set_index(["layer", "role"])
    maps = vizkit.capture("demo/vgg11_bn", vizkit.samples()["coffee"], "conv1_1:act")["conv1_1"]
    assert table.loc[("conv1_1", "act"), "zeros"] == pytest.approx(
        (maps == 0).float().mean().item(), abs=0.05
    )
    first, second = (each.save(tmp_path / "a.png").read_bytes() for each in (figure, drawn()))
    assert first == second


def probe_of(rows):
    columns = ["model", "stride", "layer", "role", "accuracy", "low", "high", "n", "chance"]
    frame = pd.DataFrame(rows, columns=columns)
    return LinearProbe(frame=frame, classes=("a", "b"), folds=5, trained=32)


@pytest.fixture
def probe():
    pixels = ("pixels", 0, "pixels", "input", 0.55, 0.4, 0.7, 40, 0.5)
    return probe_of([pixels, *(
        (model, stride, f"stride{stride}", "act", accuracy, accuracy - 0.1, accuracy + 0.08, 40,
         0.5)
        for model, accuracies in {TWIN: (0.6, 0.7, 0.9), PLAIN: (0.5, 0.65, 0.8)}.items()
        for stride, accuracy in zip((1, 2, 4), accuracies, strict=True)
    )])  # fmt: skip


def test_a_probe_is_drawn_with_its_intervals_and_what_no_network_gives(probe):
    figure = plot_probe(probe)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines[TWIN].get_ydata()) == [0.6, 0.7, 0.9]
    assert list(lines[PLAIN].get_xdata()) == [0, 1, 2]
    assert lines[TWIN].get_color() == lines[PLAIN].get_color()
    assert lines[PLAIN].get_linestyle() == "--"
    assert set(lines["chance: the most frequent class"].get_ydata()) == {0.5}
    assert set(lines["no network: 8 x 8 pixels"].get_ydata()) == {0.55}
    band = axes.collections[1].get_paths()[0].vertices
    assert {0.5, 0.98} <= set(band[:, 1].round(6))
    words = words_of(figure)
    assert "40 photos of 2 classes, 5-fold cross-validation" in words
    assert figure.to_frame() is probe.frame


def test_a_probe_of_layers_shows_activations_unless_told_otherwise():
    probe = probe_of([
        (PLAIN, 1, layer, role, accuracy, 0.1, 0.9, 40, 0.5)
        for layer in ("conv1_1", "conv1_2")
        for role, accuracy in (("conv", 0.4), ("act", 0.6))
    ])  # fmt: skip
    lines = plot_probe(probe).axes[0].lines
    assert list(lines[0].get_ydata()) == [0.6, 0.6]
    labels = [text.get_text() for text in plot_probe(probe).axes[0].get_xticklabels()]
    assert labels == ["conv1_1", "conv1_2"]
    assert list(plot_probe(probe, role="conv").axes[0].lines[0].get_ydata()) == [0.4, 0.4]
    with pytest.raises(InputError, match="unknown role 'norm'; choose from conv, act"):
        plot_probe(probe, role="norm")


def test_show_linear_probe(tmp_path):
    photo = vizkit.samples()["coffee"]
    for n in range(4):
        for name, turn in (("left", 0), ("right", 180)):
            (tmp_path / name).mkdir(exist_ok=True)
            size = 120 + n
            photo.rotate(turn).crop((n, n, n + size, n + size)).save(tmp_path / name / f"{n}.png")
    figure = vizkit.show_linear_probe("demo/vgg11", tmp_path, folds=2, theme="dark")
    assert set(figure.to_frame()["n"]) == {8}
    assert "2-fold" in words_of(figure)
