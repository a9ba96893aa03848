"""Pictures are true to their numbers, declare their scale, and leave nothing behind."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import vizkit
from vizkit.errors import InputError
from vizkit.plots import (
    Picture,
    plot_attributions,
    plot_feature_maps,
    plot_predictions,
    plot_profile,
    plot_statistics,
    plot_training,
)
from vizkit.plots.maps import mosaic
from vizkit.plots.style import norm_of, shortened

MODEL = "demo/vgg11_bn"


@pytest.fixture(scope="module")
def photo():
    return {"rocket": vizkit.samples()["rocket"]}


@pytest.fixture(scope="module")
def maps(photo):
    return vizkit.capture(MODEL, photo)


def images_of(figure):
    return [image for axes in figure.axes for image in axes.images]


def words_of(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("side", [4, 7, 64])
def test_a_mosaic_holds_each_channel_unchanged(side):
    values = np.arange(5 * side * side, dtype=float).reshape(5, side, side)
    grid = mosaic(values)
    zoom = int(np.sum(grid[0] == values[0, 0, 0]))
    # three tiles in the first row, two in the second, with gaps of NaN between them
    rows = [r for r in range(grid.shape[0]) if not np.isnan(grid[r, 0])]
    columns = [c for c in range(grid.shape[1]) if not np.isnan(grid[0, c])]
    assert len(columns) == 3 * side * zoom
    assert len(rows) == 2 * side * zoom
    tight = grid[np.ix_(rows, columns)][::zoom, ::zoom]
    assert np.array_equal(tight[:side], np.concatenate(values[:3], axis=1))
    assert np.array_equal(tight[side:, : 2 * side], np.concatenate(values[3:], axis=1))
    assert np.isnan(tight[side:, 2 * side :]).all()
    assert grid.shape[1] > 3 * side * zoom


def test_feature_maps_show_the_strongest_channels_in_order(maps):
    figure = plot_feature_maps(maps, channels=4)
    tap = maps.taps[1]
    energy = maps[tap][0].double().square().sum(dim=(1, 2))
    wanted = sorted(energy.topk(4).indices.tolist())
    drawn = images_of(figure)[2].get_array()
    expected = mosaic(maps[tap][0, wanted].numpy())
    assert np.allclose(np.ma.filled(drawn, np.nan), expected, equal_nan=True)


@pytest.mark.parametrize("scale", ["panel", "stage", "model", "all"])
def test_the_scale_is_tied_as_declared_and_printed(maps, scale):
    figure = plot_feature_maps(maps, scale=scale)
    tops = [image.norm.vmax for image in images_of(figure)[1 : 1 + len(maps)]]
    distinct = len(set(tops))
    assert distinct == (1 if scale != "stage" else len(maps))
    assert "Colours: " in words_of(figure)
    bars = sum(axes.get_label() == "<colorbar>" for axes in figure.axes)
    assert bars == (0 if scale == "panel" else len(maps))


def test_signed_maps_get_colours_symmetric_about_zero(photo):
    signed = vizkit.capture(MODEL, photo, at=["conv1_1:conv"])
    image = images_of(plot_feature_maps(signed))[1]
    assert image.norm.vmin == -image.norm.vmax
    assert image.cmap.name == "RdBu_r"


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN or infinity"):
        norm_of([np.array([0.0, np.nan])])


def test_no_format_moves_what_the_next_one_shows(maps, tmp_path):
    kinds = {"pdf": {}, "svg": {}, "png": {"dpi": 200}}
    first, second = (plot_feature_maps(maps) for _ in range(2))
    for kind, options in kinds.items():
        first.save(tmp_path / f"first.{kind}", **options)
    second._repr_png_()
    for kind, options in reversed(kinds.items()):
        second.save(tmp_path / f"second.{kind}", **options)
    for kind in kinds:
        a, b = (tmp_path / f"{name}.{kind}" for name in ("first", "second"))
        assert a.read_bytes() == b.read_bytes(), kind


def test_a_picture_is_the_same_bytes_each_time(maps, tmp_path):
    for kind in ("png", "pdf", "svg"):
        first = plot_feature_maps(maps).save(tmp_path / f"a.{kind}").read_bytes()
        second = plot_feature_maps(maps).save(tmp_path / f"b.{kind}").read_bytes()
        assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{n}.{k}" for n in "ab" for k in ("pdf", "png", "svg")
    ]


def test_a_picture_shows_itself_once_and_leaves_no_pyplot_state(maps):
    from IPython.core.formatters import DisplayFormatter

    before = dict(mpl.rcParams)
    figure = plot_feature_maps(maps)
    data, _ = DisplayFormatter().format(figure)
    assert set(data) == {"text/plain", "image/png"}
    assert Image.open(io.BytesIO(data["image/png"])).size[0] > 500
    assert isinstance(figure, Picture)
    assert isinstance(figure, mpl.figure.Figure)
    assert figure.figure is figure
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_save_refuses_what_it_cannot_write(maps, tmp_path):
    figure = plot_feature_maps(maps)
    with pytest.raises(InputError, match="unknown figure format 'jpg'"):
        figure.save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no such folder"):
        figure.save(tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_themes_differ_in_background(maps):
    light, dark = (plot_feature_maps(maps, theme=theme) for theme in ("light", "dark"))
    assert sum(light.get_facecolor()[:3]) > 2.9
    assert sum(dark.get_facecolor()[:3]) < 0.5
    with pytest.raises(InputError, match="unknown theme 'drak'; did you mean 'dark'"):
        plot_feature_maps(maps, theme="drak")


def test_attributions_join_models_on_stride(photo):
    found = [vizkit.attribute(m, photo, ["grad_cam", "saliency"]) for m in (MODEL, "demo/vgg11")]
    trimmed = vizkit.attribute(MODEL, photo, stages=["stride4", "stride16"])
    figure = plot_attributions([found[1], trimmed])
    text = words_of(figure)
    assert "no stride 1\nin this model" in text
    assert text.count("no stride") == 4
    assert "Saliency" in text
    heat = [image for image in images_of(figure) if image.get_alpha() is not None]
    shown = {tuple(image.get_array().shape) for image in heat}
    assert (8, 8) in shown
    largest = found[1].values["grad_cam"]["stride16"].max().item()
    assert f"max {largest:.2g}" in text


def test_an_attribution_of_zeros_says_so(photo):
    found = vizkit.attribute(MODEL, photo, stages=["stride32"])
    found.values["grad_cam"]["stride32"].zero_()
    assert "zero\neverywhere" in words_of(plot_attributions(found))


def test_attributions_lie_where_the_network_looked_in_the_photo():
    # a wide photo: the centre crop sees its middle only
    photo = Image.new("RGB", (400, 200), "gray")
    found = vizkit.attribute(MODEL, {"wide": photo}, stages=["stride16"])
    figure = plot_attributions(found, on="photo")
    image = next(i for i in images_of(figure)[1:] if i.get_array().shape == (200, 400))
    heat = [i for i in images_of(figure) if i.get_array().shape == (8, 8)]
    assert image.axes.get_xlim() == (-0.5, 399.5)
    for drawn in heat:
        left, right, bottom, top = drawn.get_extent()
        # 146 px of the shorter side, 128 of them seen
        side = 200 * 128 / 146
        assert right - left == pytest.approx(side, rel=0.01)
        assert (left + right) / 2 == pytest.approx(199.5, abs=1)
        assert (bottom + top) / 2 == pytest.approx(99.5, abs=1)
    with pytest.raises(InputError, match="unknown background 'foto'; did you mean 'photo'"):
        plot_attributions(found, on="foto")


def test_attribution_scales(photo):
    found = vizkit.attribute(MODEL, photo)
    for scale, distinct in {"panel": 6, "stage": 6, "model": 1, "all": 1}.items():
        heat = [
            i for i in images_of(plot_attributions(found, scale=scale))
            if i.get_alpha() is not None and i.norm.vmax != 255
        ]  # fmt: skip
        assert len({i.norm.vmax for i in heat}) == distinct
    with pytest.raises(InputError, match="overlay must be between 0 and 1"):
        plot_attributions(found, overlay=2)


def test_statistics_draw_each_value(photo):
    models = ["demo/vgg11", MODEL]
    found = vizkit.describe(models, photo)
    figure = plot_statistics(found, "sparsity")
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    for model in models:
        rows = found.frame.query("model == @model and statistic == 'sparsity'")
        assert np.allclose(lines[model], rows["value"])
    styles = {line.get_label(): line.get_linestyle() for line in figure.axes[0].lines}
    assert styles == {"demo/vgg11": "--", MODEL: "-"}
    with pytest.raises(InputError, match="unknown statistic 'sparsty'; did you mean 'sparsity'"):
        plot_statistics(found, "sparsty")


def test_layer_statistics_are_in_depth_order(photo):
    found = vizkit.describe([MODEL], photo, "mean", at="layers")
    axes = plot_statistics(found).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "conv4_1", "conv4_2",
                      "conv5_1", "conv5_2"]  # fmt: skip


def test_predictions_and_profile_and_training(photo, maps):
    frame = vizkit.predict(MODEL, photo)
    text = words_of(plot_predictions({MODEL: frame}, maps.seen))
    assert frame["class"][0] in text
    assert f"{frame['probability'][0]:.0%}".replace("%", "\u202f%") in text
    table = vizkit.profile(MODEL)
    figure = plot_profile(table)
    total = table.query("stage == 'total'")["gmacs"].item()
    widths = sum(bar.get_width() for bar in figure.axes[1].patches)
    assert widths == pytest.approx(total)
    rows = table[table["stage"] == "head"].assign(stage="unused", params=5e6)
    drawn = plot_profile(pd.concat([table, rows]))
    assert max(bar.get_width() for bar in drawn.axes[0].patches) == pytest.approx(5)
    log = pd.DataFrame(
        {
            "epoch": [1, 2], "size": [64, 96], "loss": [2.0, 1.0],
            "train_top1": [0.2, 0.4], "val_top1": [float("nan"), 0.5],
        }
    )  # fmt: skip
    figure = plot_training(log, title="a run")
    assert list(figure.axes[1].lines[1].get_ydata()) == [0.5]
    assert "96 px" in words_of(figure)


def test_names_with_dollars_or_great_length_do_no_harm():
    model = vizkit.load(MODEL)
    name = "a$b$_" + "x" * 80 + ".png"
    found = vizkit.capture(model, {name: Image.new("RGB", (40, 30), "red")})
    figure = plot_feature_maps(found)
    figure.draw_without_rendering()
    assert len(shortened(name)) <= 24


def test_a_network_on_another_scale_of_values_draws(photo):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
                                 torch.nn.Flatten(), torch.nn.LazyLinear(3))  # fmt: skip
    module(torch.zeros(1, 3, 224, 224))
    assert plot_feature_maps(vizkit.capture(module, photo)).axes


class TestStatisticsOfEveryKind:
    def test_all_of_them_have_a_panel(self, demo):
        found = vizkit.describe(demo, vizkit.samples(), "all")
        figure = plot_statistics(found, "all")
        drawn = [axes for axes in figure.axes if axes.axison]
        assert len(drawn) == found.frame["statistic"].nunique()
        assert "100 random places" in figure.get_supxlabel()

    def test_a_place_without_a_value_is_a_gap_and_said(self, demo):
        found = vizkit.describe(demo, vizkit.samples(), ["mean", "std"])
        found.frame.loc[found.frame["statistic"] == "std", "value"] = float("nan")
        found.frame.loc[2, "value"] = float("nan")
        figure = plot_statistics(found, ["mean", "std"])
        assert "Gaps are places without a value: mean, std." in figure.get_supxlabel()
        assert [t.get_text() for t in figure.axes[1].texts] == ["no value anywhere"]

    def test_layers_are_drawn_where_the_statistic_exists(self, demo):
        found = vizkit.describe(demo, vizkit.samples(), ["mean", "gamma"], at="layers")
        titles = [axes.get_title() for axes in plot_statistics(found, ["mean", "gamma"]).axes]
        assert [title.rpartition(" ")[2] for title in titles] == ["(act)", "(norm)"]
        shown = plot_statistics(found, "mean", role="conv")
        assert shown.axes[0].get_title().endswith("(conv)")
