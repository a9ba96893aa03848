"""Galleries of patches and pictures of receptive fields are true to their numbers."""

import json
import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import vizkit
from vizkit.cli import app
from vizkit.errors import InputError
from vizkit.plots import plot_patches, plot_receptive_fields

TWINS = ["demo/vgg11_bn", "demo/vgg11"]


@pytest.fixture(scope="module")
def photos():
    return vizkit.samples()


@pytest.fixture(scope="module")
def patches(photos):
    return vizkit.top_patches(TWINS, photos, "conv4_1", [3, 0, 9], k=4)


@pytest.fixture(scope="module")
def fields(photos):
    return vizkit.receptive_fields(["demo/vgg11_bn", "demo/vovnet19b"], photos)


def words_of(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def tiles_of(axes):
    return [(*p.get_xy(), p.get_width(), p.get_height()) for p in axes.patches]


def test_every_crop_lies_at_its_place_in_the_field(patches):
    figure = plot_patches(patches)
    side = int(patches.fields["height"][0])
    assert [axes.get_ylabel() for axes in figure.axes] == ["channel"] * 2
    for model, axes in zip(TWINS, figure.axes, strict=True):
        rows = patches.frame[(patches.frame["model"] == model) & (patches.frame["value"] != 0)]
        tiles = tiles_of(axes)
        assert len(axes.images) == len(rows)
        for row, image in zip(rows.itertuples(), axes.images, strict=True):
            assert np.array_equal(image.get_array(), patches.crops[row.Index])
            left, right, bottom, top = image.get_extent()
            number = [3, 0, 9].index(row.channel) * 4 + row.rank - 1
            x, y, width, height = tiles[number]
            assert (width, height) == (1, 1)
            assert (left - x) * side == pytest.approx(row.x0 - row.field_x0)
            assert (top - y) * side == pytest.approx(row.y0 - row.field_y0)
            assert (right - left) * side == pytest.approx(row.x1 - row.x0)
            assert (bottom - top) * side == pytest.approx(row.y1 - row.y0)


def test_numbers_and_names_are_printed(patches):
    figure = plot_patches(patches)
    words = words_of(figure)
    for value in patches.frame["value"]:
        assert f"{value:.3g}".replace("-", "\N{MINUS SIGN}") in words
    for model, axes, side in zip(TWINS, figure.axes, figure.subfigs[0].subfigs, strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "0", "9"]
        assert side.get_suptitle() == f"{model}\nconv4_1 conv, field 46 px"
    note = " ".join(figure.get_supxlabel().split())
    assert "in a photo, from the best of 5 photo(s)" in note
    assert "Networks trained apart number their channels apart." in note
    assert figure.to_frame() is patches.frame


def test_a_field_larger_than_the_input_is_drawn_in_the_input(photos):
    found = vizkit.top_patches("demo/vovnet19b", photos, "stride32", [0, 1], k=2)
    figure = plot_patches(found)
    assert figure.subfigs[0].subfigs[0].get_suptitle().endswith("field 427 px, input 128 px")
    (axes,) = figure.axes
    for row, image, tile in zip(found.frame.itertuples(), axes.images, tiles_of(axes), strict=True):
        left, right, _, top = image.get_extent()
        assert (left - tile[0]) * 128 == pytest.approx(row.x0)
        assert (top - tile[1]) * 128 == pytest.approx(row.y0)
        assert (right - left) * 128 == pytest.approx(row.x1 - row.x0)
    assert "a square is the whole input" in " ".join(figure.get_supxlabel().split())


def test_channels_that_are_silent_and_fields_that_are_not_square():
    net = nn.Sequential(
        nn.Conv2d(3, 2, (3, 7)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    net[0].weight.data.abs_()
    net[0].bias.data = torch.tensor([-1e6, 0.0])
    images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    figure = plot_patches(vizkit.top_patches(net, images, "1"))
    assert words_of(figure).count("silent") == 3
    (axes,) = figure.axes
    assert len(axes.images) == 3
    for image, tile in zip(axes.images, tiles_of(axes)[:3], strict=True):
        left, right, bottom, top = image.get_extent()
        assert right - left == pytest.approx(1)
        assert top - tile[1] == pytest.approx(2 / 7)
        assert bottom - top == pytest.approx(3 / 7)
    assert "field 7 x 3 px" in figure.subfigs[0].subfigs[0].get_suptitle()


def test_many_patches_go_on_in_the_next_line(photos):
    found = vizkit.top_patches({str(i): TWINS[0] for i in range(4)}, photos, "conv1_1", [0, 1])
    more = {column: found.frame[column].repeat(3) for column in found.frame}
    frame = pd.DataFrame(more).reset_index(drop=True)
    frame["rank"] = frame.groupby(["model", "channel"]).cumcount() + 1
    crops = tuple(crop for crop in found.crops for _ in range(3))
    longer = type(found)(frame, crops, found.fields, found.images)
    axes = plot_patches(longer).axes[0]
    tiles = tiles_of(axes)
    assert len(tiles) == 2 * 15
    assert len({x for x, *_ in tiles}) == 5
    assert len({y for _, y, *_ in tiles}) == 2 * 3


def test_a_network_without_the_layer_says_so(photos):
    both = vizkit.top_patches(["demo/vgg11_bn", "demo/vovnet19b"], photos, "stages", [0], k=1)
    figure = plot_patches(both)
    assert "no stride1\nin demo/vovnet19b" in words_of(figure)
    assert len(figure.subfigs) == 6


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_same_bytes_each_time_and_nothing_cut_off(theme, photos, tmp_path):
    patches = vizkit.top_patches(TWINS, photos, "conv4_1", [3], k=2)
    fields = vizkit.receptive_fields(TWINS[0], photos, ["stride2", "stride8"])
    for plot, result in ((plot_patches, patches), (plot_receptive_fields, fields)):
        first = plot(result, theme=theme).save(tmp_path / "a.png").read_bytes()
        assert first == plot(result, theme=theme).save(tmp_path / "b.png").read_bytes()
        with Image.open(tmp_path / "a.png") as picture:
            drawn = np.asarray(picture.convert("RGB"))
        assert (drawn[0, 0].mean() > 200) == (theme == "light")
        for line in (drawn[:2], drawn[-2:], drawn[:, :2], drawn[:, -2:]):
            assert (line == drawn[0, 0]).all()
        with pytest.raises(InputError, match="unknown theme"):
            plot(result, theme="grey")


def test_no_patches_are_refused(patches):
    empty = type(patches)(patches.frame[:0], (), patches.fields, 0)
    with pytest.raises(InputError, match="no patches"):
        plot_patches(empty)


def squares_of(axes):
    return [(*p.get_xy(), p.get_width(), p.get_height()) for p in axes.patches]


def test_fields_are_drawn_where_and_as_large_as_they_are(fields):
    figure = plot_receptive_fields(fields)
    grid = np.array(figure.axes[:12]).reshape(2, 6)
    for row in fields.frame.itertuples():
        r, c = list(fields.seen).index(row.model), [1, 2, 4, 8, 16, 32].index(row.stride)
        axes = grid[r, c]
        theory, effect = squares_of(axes)
        x0, y0, x1, y1 = fields.boxes[row.model][f"{row.layer}:{row.role}"]
        box = max(x0, 0), max(y0, 0), min(x1, 128), min(y1, 128)
        assert theory[:2] == (box[0] - 0.5, box[1] - 0.5)
        assert theory[2:] == (box[2] - box[0], box[3] - box[1])
        assert effect[2:] == pytest.approx((row.effective,) * 2)
        assert min(effect[:2]) >= -0.5
        assert max(effect[0] + effect[2], effect[1] + effect[3]) <= 127.5 + 1e-9
        title = axes.get_title().splitlines()
        assert title[0] == f"stride {row.stride}"
        assert title[1] == f"field {row.theoretical:.0f} px" + " > input" * (max(x1, y1) > 128)
        assert title[2] == f"effective {row.effective:.0f} px ({row.share:.0%})"
    assert "no stride 1\nin this model" in words_of(figure)
    note = " ".join(figure.get_supxlabel().split())
    assert "over 5 photo(s)" in note
    assert "Gates let in up to" in note
    assert figure.to_frame() is fields.frame


def test_heat_is_the_square_root_of_the_gradient(fields):
    axes = plot_receptive_fields(fields).axes[3]
    photo, heat = (image.get_array() for image in axes.images)
    gradient = fields.maps["demo/vgg11_bn"]["stride8:act"]
    expected = mpl.colormaps["inferno"](np.sqrt(gradient / gradient.max()))
    assert np.allclose(heat[..., :3], expected[..., :3])
    assert heat[0, 0, 3] == 0
    assert photo.shape == (128, 128)


def test_small_fields_are_drawn_again_in_a_corner(fields):
    figure = plot_receptive_fields(fields)
    inside = [len(axes.child_axes) for axes in figure.axes[:6]]
    sizes = fields.frame["theoretical"][:6]
    assert inside == [int(size < 0.2 * 128) for size in sizes]


def test_layers_of_one_stride_stand_beside_each_other_and_no_gradient_is_said(photos):
    found = vizkit.receptive_fields("demo/vgg16", photos["rocket"], ["conv3_1", "conv3_2:act"])
    titles = [axes.get_title().splitlines()[0] for axes in plot_receptive_fields(found).axes[:2]]
    assert titles == ["conv3_1 conv", "conv3_2 act"]
    for maps in found.maps.values():
        for gradient in maps.values():
            gradient[:] = 0
    found.frame[["effective", "share"]] = math.nan
    assert "no gradient" in " ".join(words_of(plot_receptive_fields(found)))


def test_one_call_shows_either(photos, patches, fields):
    figure = vizkit.show_top_patches(TWINS, photos, "conv4_1", [3, 0, 9], 4, theme="dark")
    assert figure.to_frame().equals(patches.frame)
    figure = vizkit.show_receptive_fields(["demo/vgg11_bn"], photos, figsize=(9, 3))
    assert figure.to_frame()["effective"].tolist() == fields.frame["effective"][:6].tolist()


def test_the_command_line(photos, tmp_path):
    for name, photo in photos.items():
        photo.save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"")
    out, table = tmp_path / "out" / "a.png", tmp_path / "out" / "a.csv"
    out.parent.mkdir()
    words = ["--models", ",".join(TWINS), "--at", "conv3_1", "--channels", "0, 2", "-k", "2"]
    options = ["--out", str(out), "--csv", str(table), "--device", "cpu"]
    done = CliRunner().invoke(app, ["patches", str(tmp_path), *words, *options])
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(out), str(table)]
    assert "left out" in done.stderr
    assert len(pd.read_csv(table)) == 2 * 2 * 2
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.csv", "a.png"]
    done = CliRunner().invoke(
        app, ["fields", str(tmp_path / "coffee.png"), "-m", TWINS[0], "--device", "cpu", "--json"]
    )
    rows = pd.DataFrame(json.loads(done.stdout))
    assert rows["theoretical"].tolist() == [3, 8, 26, 62, 134, 150]
    for bad in (["--channels", "a"], ["--channels", "64"], ["--csv", "missing/a.csv"]):
        done = CliRunner().invoke(app, ["patches", str(tmp_path), *words, "--out", str(out), *bad])
        assert isinstance(done.exception, InputError)
