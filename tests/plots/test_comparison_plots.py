"""A matrix of models and stages: every map in its own column, one declared scale, page by page."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.images import Transform
from vizkit.plots import plot_comparison
from vizkit.plots.comparison import check_options, pages
from vizkit.plots.maps import mosaic
from vizkit.plots.paging import save_pages
from vizkit.plots.style import THEMES

MODELS = ["demo/vgg11", "demo/vgg11_bn", "demo/vovnet19b"]
STRIDES = (1, 2, 4, 8, 16, 32)


@pytest.fixture(scope="module")
def found():
    photos = vizkit.samples()
    chosen = {name: photos[name] for name in ("rocket", "chelsea", "coffee")}
    return vizkit.compare(MODELS, chosen)


@pytest.fixture(scope="module")
def one(found):
    return found.select(0)


@pytest.fixture(scope="module")
def figure(one):
    return plot_comparison(one)


def grid_of(figure, panel=0):
    """Axes of a block by row and column."""
    blocks = figure.subfigs or [figure]
    found = {}
    for axes in blocks[panel].axes:
        spec = axes.get_subplotspec()
        found[spec.rowspan.start, spec.colspan.start] = axes
    return found


def words_of(figure):
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def words_in(axes):
    own = [axes.get_title(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return "\n".join(filter(None, own))


def values_of(axes):
    return np.ma.filled(axes.images[-1].get_array().astype(float), np.nan)


def a_net(name="net", size=(32, 48), classes=(), outputs=4):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs),
    )  # fmt: skip
    return vizkit.wrap(
        module, name=name, transform=Transform(size=size, resize=size), classes=classes
    )


# --- what is where -----------------------------------------------------------------------------


def test_a_row_per_model_and_a_column_per_stage(one, figure):
    grid = grid_of(figure)
    assert {key[0] for key in grid} == set(range(6))
    assert {key[1] for key in grid} == set(range(7))
    for column, stride in enumerate(STRIDES, 1):
        assert grid[0, column].get_title().startswith(f"stride {stride}\n")
    for row, model in zip((0, 2, 4), MODELS, strict=True):
        assert grid[row, 0].get_ylabel() == model
        assert grid[row + 1, 0].get_ylabel() == "Grad-CAM"
        assert np.array_equal(grid[row, 0].images[0].get_array(), one.maps[model].seen.pixels[0])


def test_every_map_is_drawn_unchanged_in_its_own_column(one, figure):
    grid = grid_of(figure)
    for number, model in enumerate(MODELS):
        for column, stride in enumerate(STRIDES, 1):
            above, below = grid[2 * number, column], grid[2 * number + 1, column]
            tap = one.tap(model, stride)
            if tap is None:
                assert "no stride 1\nin this model" in words_in(above)
                assert "no stride 1\nin this model" in words_in(below)
                assert not above.images
                assert not below.images
                continue
            maps = one.maps[model][tap][0].numpy()
            energy = np.square(maps.astype(float)).sum(axis=(1, 2))
            strongest = sorted(np.argsort(energy)[::-1][:9])
            assert np.allclose(values_of(above), mosaic(maps[strongest]), equal_nan=True)
            assert f"9 of {tap.channels} channels" in above.get_title()
            cam = one.attributions[model].values["grad_cam"][tap.name][0, 0].numpy()
            assert np.array_equal(values_of(below), cam)
            assert f"max {cam.max():.2g}" in below.get_title()


def test_the_cell_that_a_model_lacks_is_empty_and_nothing_is_shifted(figure):
    grid = grid_of(figure)
    empty = [key for key, axes in grid.items() if "in this model" in words_in(axes)]
    assert sorted(empty) == [(4, 1), (5, 1)]


@pytest.mark.parametrize(
    ("show", "rows", "kinds"),
    [("both", 6, "9 of"), ("maps", 3, "9 of"), ("energy", 3, "max"), ("attributions", 3, "max")],
)
def test_parts_can_be_chosen(one, show, rows, kinds):
    grid = grid_of(plot_comparison(one, show=show))
    assert len(grid) == rows * 7
    assert kinds in grid[0, 2].get_title()
    assert all(grid[row * rows // 3, 0].get_ylabel() == m for row, m in enumerate(MODELS))


def test_energy_is_the_root_mean_square_of_all_channels(one):
    grid = grid_of(plot_comparison(one, show="energy"))
    for row, model in enumerate(MODELS):
        for column, stride in enumerate(STRIDES, 1):
            tap = one.tap(model, stride)
            if tap is not None:
                maps = one.maps[model][tap][0].double().numpy()
                expected = np.sqrt((maps**2).mean(axis=0))
                assert np.allclose(values_of(grid[row, column]), expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 4, 500])
def test_as_many_channels_as_asked_for_and_there_are(one, channels):
    grid = grid_of(plot_comparison(one, show="maps", channels=channels))
    assert f"{min(channels, 16)} of 16 channels" in grid[0, 1].get_title()
    assert f"{min(channels, 512)} of 512 channels" in grid[2, 6].get_title()


def test_layers_are_columns_by_the_papers_names():
    photo = vizkit.samples()["rocket"]
    found = vizkit.compare(["demo/vgg11", "demo/vgg19"], photo, "layers")
    grid = grid_of(plot_comparison(found))
    titles = [grid[0, n].get_title().partition("\n")[0] for n in range(1, 17)]
    assert titles == list(found.axis)
    missing = [n for n in range(1, 17) if "in this model" in words_in(grid[0, n])]
    assert [found.axis[n - 1] for n in missing] == [
        name for name in found.axis if found.tap("demo/vgg11", name) is None
    ]
    assert "no conv3_3\nin this model" in words_in(grid[0, 1 + found.axis.index("conv3_3")])
    assert not any("in this model" in words_in(grid[2, n]) for n in range(1, 17))


def test_a_layer_without_normalisation_is_not_called_missing():
    photo = vizkit.samples()["rocket"]
    found = vizkit.compare(["demo/vgg11", "demo/vgg11_bn"], photo, "layers", role="norm")
    assert "no norm at conv1_1" in words_in(grid_of(plot_comparison(found))[0, 1])


def test_classes_and_methods_have_rows_of_their_own():
    photo = vizkit.samples()["rocket"]
    found = vizkit.compare(
        MODELS[1:], photo, targets=["parachute", "church"],
        methods=["grad_cam", "layer_cam", "saliency"],
    )  # fmt: skip
    grid = grid_of(plot_comparison(found))
    assert len(grid) == 2 * (1 + 2 * 2) * 8
    labels = [grid[row, 0].get_ylabel() for row in range(5)]
    assert labels == ["demo/vgg11_bn", "Grad-CAM", "Layer-CAM", "Grad-CAM", "Layer-CAM"]
    assert grid[0, 7].get_title().startswith("Saliency")
    own = found.attributions["demo/vgg11_bn"]
    for row, (method, target) in enumerate(
        [("grad_cam", 0), ("layer_cam", 0), ("grad_cam", 1), ("layer_cam", 1)], 1
    ):
        # every row says which class it explains, also where it is what the model answers
        assert f"why {('parachute', 'church')[target]}" in words_in(grid[row, 0])
        expected = own.values[method]["stride4"][0, target].numpy()
        assert np.array_equal(values_of(grid[row, 3]), expected)
    for row, target in ((1, 0), (3, 1)):
        expected = own.values["saliency"]["input"][0, target].numpy()
        assert np.array_equal(values_of(grid[row, 7]), expected)


def test_methods_of_the_input_alone_leave_no_empty_columns():
    found = vizkit.compare(MODELS[:2], vizkit.samples()["rocket"], methods="saliency")
    alone = grid_of(plot_comparison(found, show="attributions"))
    assert sorted(alone) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert alone[0, 1].get_title().startswith("Saliency")
    both = grid_of(plot_comparison(found))
    assert len(both) == 4 * 8
    assert words_in(both[1, 1]) == "–"


def test_a_method_of_the_last_stage_leaves_the_others_empty():
    found = vizkit.compare("demo/vovnet19b", vizkit.samples()["rocket"], methods="cam")
    grid = grid_of(plot_comparison(found))
    assert [words_in(grid[1, n]) for n in range(1, 5)] == ["–"] * 4
    expected = found.attributions["demo/vovnet19b"].values["cam"]["stride32"][0, 0].numpy()
    assert np.array_equal(values_of(grid[1, 5]), expected)


# --- colours -----------------------------------------------------------------------------------


def norms_of(grid, row, columns=range(1, 7)):
    return [grid[row, n].images[-1].norm if grid[row, n].images else None for n in columns]


def test_one_scale_for_each_column_across_models(figure):
    grid = grid_of(figure)
    for kind in (0, 1):
        rows = [norms_of(grid, 2 * model + kind) for model in range(3)]
        for column in range(6):
            own = [row[column] for row in rows if row[column] is not None]
            assert len({id(norm) for norm in own}) == 1
            assert len({(norm.vmin, norm.vmax) for norm in own}) == 1
        assert len({norm.vmax for norm in rows[0]}) == 6
    assert "one scale for each column and kind of row" in words_of(figure).replace("\n", " ")


def test_the_scale_of_a_column_holds_its_strongest_map(one, figure):
    grid = grid_of(figure)
    for column, stride in enumerate(STRIDES, 1):
        cams = [
            one.attributions[model].values["grad_cam"][f"stride{stride}"][0, 0].numpy()
            for model in MODELS
            if one.tap(model, stride)
        ]
        top = max(np.percentile(np.abs(cam.astype(float)), 99.5) for cam in cams)
        assert norms_of(grid, 1)[column - 1].vmax == pytest.approx(top)


@pytest.mark.parametrize(
    ("scale", "words", "distinct"),
    [
        ("panel", "one scale for each cell,", 17),
        ("stage", "one scale for each column,", 6),
        ("model", "one scale for each model,", 3),
        ("all", "one scale for all cells,", 1),
    ],
)
def test_scales_are_tied_as_declared_and_printed(one, scale, words, distinct):
    figure = plot_comparison(one, show="attributions", scale=scale)
    grid = grid_of(figure)
    norms = [norm for row in range(3) for norm in norms_of(grid, row) if norm is not None]
    assert len(norms) == 17
    assert len({id(norm) for norm in norms}) == distinct
    assert words in words_of(figure).replace("\n", " ")


def test_a_scale_is_of_one_image(found):
    figure = plot_comparison(found, scale="all", show="attributions")
    tops = [norms_of(grid_of(figure, panel), 0)[5] for panel in range(3)]
    assert len({id(norm) for norm in tops}) == 3
    assert "one scale for all cells of an image" in words_of(figure).replace("\n", " ")


def test_signed_maps_are_coloured_about_zero_in_all_models():
    photo = vizkit.samples()["rocket"]
    found = vizkit.compare(MODELS[:2], photo, methods="hires_cam", targets="church")
    grid = grid_of(plot_comparison(found, show="attributions"))
    for row in (0, 1):
        for norm, axes in zip(
            norms_of(grid, row), [grid[row, n] for n in range(1, 7)], strict=True
        ):
            assert norm.vmin == -norm.vmax
            assert axes.images[-1].get_cmap().name == THEMES["light"].diverging


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_themes_colour_paper_and_ink(one, theme):
    figure = plot_comparison(one, theme=theme)
    colours = THEMES[theme]
    assert mpl.colors.to_hex(figure.get_facecolor()) == colours.paper
    grid = grid_of(figure)
    assert mpl.colors.to_hex(grid[4, 1].get_facecolor()) == colours.empty
    assert mpl.colors.to_hex(grid[0, 1].title.get_color()) == colours.ink
    assert mpl.colors.to_hex(grid[4, 1].texts[0].get_color()) == colours.ink
    with Image.open(io.BytesIO(figure._repr_png_())) as drawn:
        corner = drawn.convert("RGB").getpixel((1, 1))
    assert bytes(corner).hex() == colours.paper.lstrip("#")


# --- words -------------------------------------------------------------------------------------


def test_a_row_says_what_the_model_answers_and_which_class_is_explained(found):
    photo = vizkit.samples()["rocket"]
    same = grid_of(plot_comparison(found.select(0)))
    share = float(found.maps["demo/vgg11"].logits[0].softmax(dim=0).max())
    assert same[0, 0].get_title() == f"church {share:.0%}".replace(
        "%", "\N{NARROW NO-BREAK SPACE}%"
    )
    assert "why" not in words_in(same[1, 0])
    assert len(same[1, 0].texts[0].get_text().splitlines()) == 3
    other = vizkit.compare("demo/vgg11", photo, targets="tench", against="parachute")
    grid = grid_of(plot_comparison(other))
    text = grid[1, 0].texts[0].get_text()
    assert re.match(r"why tench <?\d+\s%\nand not parachute\n\nchurch", text)
    alone = grid_of(plot_comparison(other, show="attributions"))[0, 0].get_title()
    assert re.fullmatch(r"church \d+\s%\nwhy tench <?\d+\s%\nand not parachute", alone)


def test_a_small_probability_is_not_called_none():
    found = vizkit.compare(a_net(outputs=1000), vizkit.samples()["rocket"], targets=0)
    words = words_of(plot_comparison(found))
    assert "<1" in words
    assert " 0\N{NARROW NO-BREAK SPACE}%" not in words


def test_different_inputs_are_named_at_their_rows_and_the_same_below(found):
    photo = vizkit.samples()["rocket"]
    nets = [a_net("a"), a_net("b", size=(64, 64))]
    figure = plot_comparison(vizkit.compare(nets, photo))
    grid = grid_of(figure)
    for row, net in ((0, nets[0]), (2, nets[1])):
        assert " ".join(grid[row, 0].get_ylabel().split()) == f"{net.name} {net.transform}"
    assert "The models see different inputs, named at their rows." in words_of(figure).replace(
        "\n", " "
    )
    same = plot_comparison(vizkit.compare(nets, photo, same_pixels=True))
    assert f"All models see {nets[0].transform}." in words_of(same).replace("\n", " ")
    assert grid_of(same)[0, 0].get_ylabel() == "a"


def test_other_classes_are_said():
    photo = vizkit.samples()["rocket"]
    left, right = a_net("a", classes=["cat", "dog", "fox", "owl"]), a_net("b", classes=list("wxyz"))
    figure = plot_comparison(vizkit.compare([left, right], photo))
    assert "Not all models explain the same class" in words_of(figure).replace("\n", " ")
    alike = plot_comparison(vizkit.compare([left, a_net("c", classes=left.classes)], photo))
    assert "same class" not in words_of(alike)
    maps = plot_comparison(vizkit.compare([left, right], photo), show="maps")
    assert "same class" not in words_of(maps)


NASTY = [
    "$x$_y^{2}", "a_b_c", "very long " * 9, "$" * 3, "50 % & <b>", r"back\slash", "日本 🦊",
    "$\\frac{",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_of_any_kind_neither_break_nor_get_cut_off(theme):
    classes = [f"{name} {n}" for n, name in enumerate(NASTY)]
    nets = {
        NASTY[2]: a_net(classes=classes, outputs=8),
        NASTY[0]: a_net(size=(64, 64), classes=classes, outputs=8),
    }
    photos = {name: vizkit.samples()["rocket"] for name in NASTY[:3]}
    found = vizkit.compare(nets, photos, targets=[0, 2, 5], against=4)
    for show in ("both", "attributions", "energy"):
        figure = plot_comparison(found, theme=theme, show=show)
        assert cut_off(figure) == []


def renderer_of(figure):
    """Draw a figure, so that it knows how large its words are."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def cut_off(figure):
    """Texts that reach beyond the figure."""
    renderer = renderer_of(figure)
    width, height = figure.get_size_inches() * figure.dpi
    found = []
    for text in figure.findobj(mpl.text.Text):
        if not text.get_text().strip() or not text.get_visible():
            continue
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(text.get_text())
    return found


@pytest.mark.parametrize("show", ["both", "attributions", "energy", "maps"])
def test_words_do_not_lie_over_each_other(show):
    names = ("English springer spaniel", "a cassette player, black", "garbage truck, dustcart", "x")
    nets = {
        "mobilenetv3_small_050_b": a_net(classes=names),
        "efficientnet_b0.ra_in1k_": a_net(size=(64, 64), classes=names),
        "torchvision/vgg19_bn_xyz": a_net(size=(48, 32), classes=names),
    }
    found = vizkit.compare(nets, vizkit.samples()["rocket"], targets=[0, 1], against=2)
    figure = plot_comparison(found, show=show)
    renderer = renderer_of(figure)
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(mpl.text.Text)
        if text.get_text().strip() and text.get_visible()
    ]
    over = [
        (a, b)
        for n, (a, one) in enumerate(boxes)
        for b, other in boxes[n + 1 :]
        # a pixel more or less is between the lines
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 2
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 2
    ]
    assert over == []
    assert cut_off(figure) == []


# --- pages and files ---------------------------------------------------------------------------


def test_images_go_on_pages(found):
    assert [pages(found, n) for n in (1, 2, 3, 4)] == [3, 2, 1, 1]
    first = plot_comparison(found, page=1, per_page=2)
    last = plot_comparison(found, page=2, per_page=2)
    assert [panel.get_suptitle() for panel in first.subfigs] == ["rocket", "chelsea"]
    assert [panel.get_suptitle() for panel in last.subfigs] == ["coffee"]
    assert "Page 2 of 2." in words_of(last)
    assert "Page" not in words_of(plot_comparison(found, per_page=3))
    for figure, image in ((first, 1), (last, 2)):
        grid = grid_of(figure, image % 2)
        cam = found.attributions["demo/vgg11"].values["grad_cam"]["stride16"][image, 0]
        assert np.array_equal(values_of(grid[1, 5]), cam.numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page": 4}, "no page 4: the comparison has 1"),
        ({"page": 0}, "page must be a whole number of at least 1, not 0"),
        ({"page": 2, "per_page": 3}, "no page 2: the comparison has 1"),
        ({"per_page": 0}, "per_page must be a whole number of at least 1, not 0"),
        ({"channels": 0}, "channels must be a whole number of at least 1, not 0"),
        ({"channels": 2.5}, "channels must be a whole number"),
        ({"show": "map"}, "unknown part of a comparison 'map'; did you mean 'maps'"),
        ({"scale": "pannel"}, "unknown scale 'pannel'; did you mean 'panel'"),
        ({"theme": "drak"}, "unknown theme 'drak'; did you mean 'dark'"),
        ({"overlay": 2}, "overlay must be between 0 and 1, not 2"),
    ],
)
def test_bad_options_are_named(found, options, message):
    with pytest.raises(InputError, match=message):
        plot_comparison(found, **options)


@pytest.mark.parametrize(
    "options",
    [{"theme": "drak"}, {"page": 0}, {"scale": "x"}, {"show": "x"}, {"channels": 0}],
    ids=str,
)
def test_bad_options_are_refused_before_any_network_runs(options, monkeypatch):
    monkeypatch.setattr("vizkit.show.comparisons.compare", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(InputError):
        vizkit.show_comparison("demo/vgg11", "photo.png", **options)
    check_options("both", 9, "stage", 4)


def test_the_same_comparison_gives_the_same_bytes(one, tmp_path):
    first, second = plot_comparison(one), plot_comparison(one)
    assert first._repr_png_() == second._repr_png_()
    files = [plot_comparison(one).save(tmp_path / f"{n}.png") for n in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_table_behind_the_figure_has_every_map(found, figure):
    assert set(figure.to_frame()["model"]) == set(MODELS)
    assert len(figure.to_frame()) == 17
    own = figure.to_frame().set_index(["model", "stage"])
    cam = found.attributions["demo/vgg11_bn"].values["grad_cam"]["stride8"][0, 0]
    assert own.loc[("demo/vgg11_bn", "stride8"), "max"] == pytest.approx(cam.max().item())


def test_show_comparison_compares_and_draws(found):
    photo = {"rocket": vizkit.samples()["rocket"]}
    shown = vizkit.show_comparison(MODELS, photo, scale="panel", targets="church", k=3)
    drawn = plot_comparison(vizkit.compare(MODELS, photo, targets="church"), scale="panel")
    assert shown._repr_png_() == drawn._repr_png_()
    size = vizkit.show_comparison(MODELS, photo, figsize=(8, 5)).get_size_inches()
    assert size.tolist() == [8, 5]


@pytest.fixture
def drawn(one):
    """Three small pages, drawn when their turn comes."""

    def pages_of(count=3, fails_at=None):
        for n in range(count):
            if n == fails_at:
                raise RuntimeError("midway")
            yield plot_comparison(one, show="energy", figsize=(4 + n, 3))

    return pages_of


def test_a_pdf_has_all_pages(drawn, tmp_path):
    path = tmp_path / "all.pdf"
    assert save_pages(drawn(), path) == [path]
    assert len(re.findall(rb"/Type\s*/Page\b", path.read_bytes())) == 3
    assert list(tmp_path.iterdir()) == [path]
    assert b"CreationDate" not in path.read_bytes()


@pytest.mark.parametrize("ending", ["png", "svg", "PNG"])
def test_bitmaps_are_numbered(drawn, tmp_path, ending):
    written = save_pages(drawn(), tmp_path / f"a.b.{ending}")
    assert written == [tmp_path / f"a.b-{n}.{ending}" for n in (1, 2, 3)]
    assert sorted(tmp_path.iterdir()) == written
    if ending == "png":
        widths = []
        for path in written:
            with Image.open(path) as page:
                widths.append(page.width)
        assert widths == sorted(set(widths))
        # in the order drawn, each with the size asked for
        assert widths[1] - widths[0] == widths[2] - widths[1] == 110


def test_one_page_keeps_its_name(drawn, tmp_path):
    for name in ("a.png", "a.pdf", "a.svg"):
        assert save_pages(drawn(1), tmp_path / name) == [tmp_path / name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "a.svg"]


@pytest.mark.parametrize("name", ["a.png", "a.pdf", "a.svg"])
@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_nothing_is_left_behind_or_lost_when_drawing_fails_midway(drawn, tmp_path, name, fails_at):
    older = {tmp_path / name: b"older", tmp_path / f"{name[0]}-1{name[1:]}": b"older, too"}
    for path, content in older.items():
        path.write_bytes(content)
    with pytest.raises(RuntimeError, match="midway"):
        save_pages(drawn(3, fails_at), tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == older


def test_files_are_replaced(drawn, tmp_path):
    for name in ("a-1.png", "a-2.png", "a.pdf"):
        (tmp_path / name).write_bytes(b"older")
    save_pages(drawn(2), tmp_path / "a.png")
    save_pages(drawn(2), tmp_path / "a.pdf")
    assert all(path.read_bytes() != b"older" for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gif", "unknown figure format 'gif'; choose from png, pdf, svg"),
        ("a", "unknown figure format ''"),
        ("nowhere/a.png", "no such folder: .*nowhere"),
        ("nowhere/a.pdf", "no such folder: .*nowhere"),
    ],
)
def test_bad_places_are_refused_before_anything_is_drawn(tmp_path, name, message):
    def never():
        pytest.fail("it was drawn")
        yield

    with pytest.raises(InputError, match=message):
        save_pages(never(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.pdf"])
def test_no_page_is_an_error(tmp_path, name):
    with pytest.raises(InputError, match="no pages to write"):
        save_pages([], tmp_path / name)
    assert list(tmp_path.iterdir()) == []
