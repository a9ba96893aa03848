"""Pictures of disagreement show the numbers they are given."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

from vizkit.errors import InputError
from vizkit.plots.calibration import plot_calibration
from vizkit.plots.confusion import plot_confusion
from vizkit.plots.disagreement import plot_disagreement
from vizkit.plots.gallery import plot_gallery
from vizkit.results import Attributions, Seen, Tap
from vizkit.results.disagreement import Disagreement

themes = pytest.mark.parametrize("theme", ["light", "dark"])
NINE = [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")] + ["vovnet"]
STRIDES = (1, 2, 4, 8, 16, 32)


def made(models, images=40, classes=5, labelled=True, maps=True, seed=0):
    """Numbers of no network."""
    generator = np.random.default_rng(seed)
    names = [f"c{k % classes}/{n}" for n, k in enumerate(range(images))]
    labels = [name.partition("/")[0] if labelled else None for name in names]
    rows = []
    for model in models:
        for name, label in zip(names, labels, strict=True):
            said = name.partition("/")[0]
            if generator.random() < 0.3:
                said = f"c{generator.integers(classes)}"
            rows.append((model, name, label, said, 0, generator.uniform(0.2, 1),
                         None if label is None else said == label, 0.5, 0.4, 0.7))  # fmt: skip
    columns = ["model", "image", "label", "class", "index", "probability", "right", "own", "brier",
               "nll"]  # fmt: skip
    predictions = pd.DataFrame(rows, columns=columns)
    ranking = pd.DataFrame({
        "image": names, "position": range(images), "label": pd.Series(labels, dtype=object),
        "explained": [name.partition("/")[0] for name in names],
        "classes": predictions.groupby("image", sort=False)["class"].nunique().to_numpy(),
        "divergence": np.linspace(0.3, 0, images), "maps": np.linspace(1, 0.5, images),
        "pairs": 1, "score": np.linspace(0.3, 0, images),
    })  # fmt: skip
    agreement = [
        (a, b, f"stride{s}", s, 0.1 + 0.01 * i + 0.02 * s, 0.5, 0.2, images)
        for i, (a, b) in enumerate(itertools.combinations(models, 2))
        for s in STRIDES
        if maps and not (s == 1 and "vovnet" in (a, b))
    ]
    names = ["model_a", "model_b", "stage", "stride", "spearman", "ssim", "iou", "n"]
    stages = pd.DataFrame(columns=["model", "stage", "stride"])
    return Disagreement(
        predictions, ranking, pd.DataFrame(agreement, columns=names), stages,
        "stride32" if maps else None, "Grad-CAM" if maps else None,
        transforms=dict.fromkeys(models, "128 px, bilinear, crop 0.875"),
    )  # fmt: skip


def words_of(figure):
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_visible()]


def note_of(figure):
    return " ".join(figure._supxlabel.get_text().split())


def all_inside(figure):
    """Whether everything that is drawn lies in the picture, in inches."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01


def images_of(axes):
    return [np.asarray(image.get_array()) for image in axes.images]


# --- overview --------------------------------------------------------------------------------


@themes
@pytest.mark.parametrize("models", [NINE, ["a", "b"], ["vgg11", "vgg11_bn", "vovnet"]])
def test_flips_and_scores_are_the_results(theme, models):
    found = made(models)
    figure = plot_disagreement(found, theme=theme)
    matrix = np.ma.masked_invalid(figure.axes[2].images[0].get_array()).filled(-1)
    for row in found.flip_counts().itertuples():
        a, b = models.index(row.a), models.index(row.b)
        assert (matrix[a, b], matrix[b, a]) == (row.only_a, row.only_b)
    assert (np.diag(matrix) == -1).all()
    scores = found.scores().set_index("model")
    dots = [line for line in figure.axes[3].lines if line.get_marker() == "o"][: len(models)]
    for model, line in zip(models, dots, strict=True):
        assert line.get_xdata()[0] == pytest.approx(scores.loc[model, "accuracy"])
    # stacked: the later heights lie on the earlier
    counted = sum(patch.get_height() for patch in figure.axes[0].patches)
    assert counted == found.images
    assert all_inside(figure)
    assert "40 images." in note_of(figure)
    assert "128 px, bilinear, crop 0.875" in note_of(figure)
    assert "McNemar" in note_of(figure)


def test_maps_of_many_are_drawn_by_kind_of_pair():
    found = made(NINE)
    axes = plot_disagreement(found).axes[1]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    table = found.agreement
    bn = {m for m in NINE if m.endswith("_bn")}
    both = table[table["model_a"].isin(bn) & table["model_b"].isin(bn)]
    expected = both.groupby("stride")["spearman"].mean()
    assert np.allclose(lines["both with batch normalisation: 6 pairs"], expected)
    twins = table[table["model_b"] == table["model_a"] + "_bn"]
    assert np.allclose(
        lines["with and without, same depth: 4 pairs"], twins.groupby("stride")["spearman"].mean()
    )
    other = lines["other pairs: 8 pairs"]
    assert np.isnan(other[0])
    assert np.isfinite(other[1:]).all()
    assert np.allclose(lines["mean of all pairs"], table.groupby("stride")["spearman"].mean())
    assert [t.get_text() for t in axes.get_xticklabels()] == [str(s) for s in STRIDES]


def test_few_pairs_are_drawn_each_and_others_without_kinds():
    few = plot_disagreement(made(["a", "b", "c"])).axes[1]
    assert [line.get_label() for line in few.lines] == ["a and b", "a and c", "b and c"]
    many = plot_disagreement(made(["a", "b", "c", "d"])).axes[1]
    assert [line.get_label() for line in many.lines] == ["mean of all pairs"]


@themes
def test_without_labels_or_maps(theme):
    found = made(["vgg11", "vgg19"], labelled=False)
    figure = plot_disagreement(found, theme=theme)
    said = [own["class"].to_numpy() for _, own in found.predictions.groupby("model", sort=False)]
    assert images_of(figure.axes[2])[0][0, 1] == (said[0] != said[1]).sum()
    assert not any("right" in word for word in words_of(figure))
    assert "most probable on average" in note_of(figure)
    assert len(plot_disagreement(made(["a", "b"], maps=False)).axes) == 3
    titles = [
        axes.get_title("left") for axes in plot_disagreement(made(["a", "b"], maps=False)).axes
    ]
    assert not any("maps" in title for title in titles)


def test_different_inputs_and_unreadable_files_are_told():
    found = made(["a", "b"])
    found.transforms.update(b="224 px, bicubic, crop 0.95")
    found.failed.loc[0] = ["x.jpg", "damaged"]
    for draw in (plot_disagreement, plot_calibration, plot_confusion):
        note = note_of(draw(found))
        assert "different inputs: a: 128 px, bilinear, crop 0.875; b: 224 px" in note
        assert "1 unreadable files left out" in note


def test_dollars_stay_text():
    found = made(["cost$a$", "b$x"])
    for draw in (plot_disagreement, plot_calibration, plot_confusion):
        words = words_of(draw(found))
        assert any("cost" in word for word in words)
        assert not any("$" in word.replace(r"\$", "") for word in words)


# --- calibration -----------------------------------------------------------------------------


@themes
@pytest.mark.parametrize("models", [NINE, ["a", "b"]])
def test_reliability_is_the_results(theme, models):
    found = made(models, images=200)
    figure = plot_calibration(found, theme=theme, bins=8)
    table = found.calibration(8)
    scores = found.scores().set_index("model")
    for model, axes in zip(models, figure.axes, strict=False):
        own = table[(table["model"] == model) & (table["n"] > 0)]
        points = axes.collections[-1]
        assert np.allclose(points.get_offsets(), own[["confidence", "accuracy"]])
        assert (
            np.argsort(points.get_sizes(), kind="stable") == own["n"].argsort(kind="stable")
        ).all()
        words = [text.get_text() for text in axes.texts]
        assert f"calibration error {scores.loc[model, 'ece']:.3f}" in words
        assert [int(word) for word in words if word.isdigit()] == list(own["n"])
        assert axes.get_title("left").strip() == model
    assert "200 images" in note_of(figure)
    assert all_inside(figure)
    assert len(figure.to_frame()) == 8 * len(models)


def test_calibration_needs_labels():
    with pytest.raises(InputError, match="without the images' own classes"):
        plot_calibration(made(["a", "b"], labelled=False))


# --- confusion -------------------------------------------------------------------------------


@themes
@pytest.mark.parametrize("models", [NINE, ["a", "b"]])
def test_confusion_is_the_share_of_each_class(theme, models):
    found = made(models)
    figure = plot_confusion(found, theme=theme)
    for model, axes in zip(models, figure.axes, strict=False):
        own = found.predictions[found.predictions["model"] == model]
        cross = pd.crosstab(own["label"], own["class"], normalize="index")
        matrix = np.ma.masked_invalid(axes.images[0].get_array())
        assert np.allclose(matrix.filled(0), cross.to_numpy())
        assert np.array_equal(np.ma.getmaskarray(matrix), cross.to_numpy() == 0)
        numbers = [int(text.get_text()) for text in axes.texts]
        assert numbers == [round(100 * x) for x in cross.to_numpy().ravel() if x > 0]
    assert all_inside(figure)
    chosen = plot_confusion(found, models=[models[1]])
    assert set(chosen.to_frame()["model"]) == {models[1]}
    with pytest.raises(InputError, match="unknown model 'z'"):
        plot_confusion(found, models=["z"])
    with pytest.raises(InputError, match="no models: choose from"):
        plot_confusion(found, models=[])


def test_one_class_is_one_matrix_with_a_row_for_each_model():
    found = made(["a", "b", "c"], classes=1)
    found.predictions.loc[3, ["class", "right"]] = ["other", False]
    figure = plot_confusion(found)
    assert len(figure.axes) == 1
    matrix = np.ma.masked_invalid(figure.axes[0].images[0].get_array()).filled(0)
    assert np.allclose(matrix, [[39 / 40, 1 / 40], [1, 0], [1, 0]])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


@themes
@pytest.mark.parametrize("models", [NINE, ["a", "b"]])
def test_of_many_classes_the_most_frequent_confusions_are_listed(theme, models):
    found = made(models, images=300, classes=40)
    figure = plot_confusion(found, theme=theme)
    wrong = found.predictions[found.predictions["label"] != found.predictions["class"]]
    pairs = wrong.groupby(["label", "class"]).size().sort_values(ascending=False, kind="stable")
    names = [f"{label} → {said}" for label, said in pairs.index[:20]]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == names
    for model, axes in zip(models, figure.axes, strict=True):
        own = wrong[wrong["model"] == model]
        counts = own.groupby(["label", "class"]).size().reindex(pairs.index[:20]).fillna(0)
        totals = found.predictions[found.predictions["model"] == model].groupby("label").size()
        shares = [n / totals[label] for (label, _), n in counts.items()]
        assert np.allclose([patch.get_width() for patch in axes.patches], shares)
    assert all_inside(figure)
    assert "20 most frequent confusions" in note_of(figure)


def test_no_confusion_among_many_classes_says_so():
    found = made(["a", "b"], images=60, classes=30)
    found.predictions["class"] = found.predictions["label"]
    found.predictions["right"] = True
    assert "No image is taken for another class" in note_of(plot_confusion(found))


# --- gallery ---------------------------------------------------------------------------------


def maps_of(found, names, stage="stride32", signed=False):
    generator = torch.Generator().manual_seed(0)
    pixels = np.full((len(names), 16, 16, 3), 90, np.uint8)
    boxes, originals = ((0.0, 0.0, 16.0, 16.0),) * len(names), (None,) * len(names)
    seen = Seen(tuple(names), pixels, boxes, originals, "")
    tap = Tap(stage, "m", "act", 32, 4)
    result = []
    for model in found.models:
        maps = torch.rand(len(names), 1, 4, 4, generator=generator) - 0.5 * signed
        result.append(Attributions(
            model, {"grad_cam": {stage: maps}}, torch.zeros(len(names), 1, dtype=torch.long),
            torch.ones(len(names), 1), torch.zeros(len(names), 3, 16, 16), seen, (tap,),
            labels={"grad_cam": "Grad-CAM"},
        ))  # fmt: skip
    return result


@themes
@pytest.mark.parametrize("models", [NINE, ["a", "b"]])
def test_the_gallery_shows_what_each_says_of_each_image(theme, models):
    found = made(models)
    names = list(found.ranking["image"][:3])
    maps = maps_of(found, names)
    maps[1].values["grad_cam"]["stride32"][2] = 0
    figure = plot_gallery(found, maps, theme=theme)
    grid = np.array(figure.axes).reshape(3, len(models) + 1)
    said = found.predictions.set_index(["image", "model"])
    colours = set()
    for n, m in np.ndindex(3, len(models)):
        row = said.loc[(names[n], models[m])]
        title = grid[n, m + 1].get_title()
        sign = "✓" if row["right"] else "✗"
        assert title.startswith(f"{sign} {row['class']}\n{row['probability']:.0%}"[:-1])
        colours.add((sign, grid[n, m + 1].title.get_color()))
        if (n, m) != (2, 1):
            expected = maps[m].values["grad_cam"]["stride32"][n, 0]
            assert np.array_equal(images_of(grid[n, m + 1])[-1], expected.numpy())
    assert len(colours) == len({colour for _, colour in colours}) == 2
    assert any("zero" in text.get_text() for text in grid[2, 2].texts)
    assert [grid[0, m + 1].texts[0].get_text() for m in range(len(models))] == models
    assert grid[0, 0].get_title().strip() == names[0].partition("/")[0]
    assert grid[0, 0].get_ylabel() == "divergence 0.30\nmaps 1.00"
    note = note_of(figure)
    assert "Grad-CAM at stride 32, of the photo's own class" in note
    assert "inferno" in note
    assert "3 of 40 images" in note
    assert all_inside(figure)
    assert len(figure.to_frame()) == 3 * len(models)


@themes
def test_the_gallery_of_photos_without_labels_marks_nothing(theme):
    found = made(["a", "b"], labelled=False)
    figure = plot_gallery(found, maps_of(found, ["c0/0"], signed=True), theme=theme)
    assert not any("✓" in word or "✗" in word for word in words_of(figure))
    assert "most probable on average" in note_of(figure)
    assert "diverging about zero" in note_of(figure)
    # the class explained is not the photo's own
    assert figure.axes[0].get_title().strip() == "0"
    assert [text.get_text() for text in figure.axes[0].texts] == ["maps: c0"]


def test_the_gallery_finds_maps_by_stride_and_refuses_strangers():
    found = made(["a", "b"])
    plot_gallery(found, maps_of(found, ["c0/0"], stage="features.20"))
    note = note_of(plot_gallery(found, maps_of(found, ["c0/0"], stage="input")))
    assert note.startswith("Grad-CAM, of")
    object.__setattr__(found, "stage", None)
    note = note_of(plot_gallery(found, maps_of(found, ["c0/0"])))
    assert note.startswith("Grad-CAM at each model's last stage, of")
    object.__setattr__(found, "stage", "stride32")
    with pytest.raises(InputError, match="unknown image 'c9/9'"):
        plot_gallery(found, maps_of(found, ["c9/9"]))
    with pytest.raises(InputError, match="unknown model 'z'"):
        plot_gallery(found, maps_of(made(["a", "z"]), ["c0/0"]))
    with pytest.raises(InputError, match="list is empty"):
        plot_gallery(found, [])
    other = [maps_of(found, ["c0/0"])[0], maps_of(found, ["c1/1"])[1]]
    with pytest.raises(InputError, match="of different images"):
        plot_gallery(found, other)
    for each in (strange := maps_of(found, ["c0/0"], stage="x")):
        object.__setattr__(each, "taps", (Tap("x", "m", "act", 8, 4),))
    with pytest.raises(InputError, match="unknown stage of a 'stride32'"):
        plot_gallery(found, strange)


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    found = made(["vgg11", "vgg11_bn", "vovnet"])
    maps = maps_of(found, list(found.ranking["image"][:2]))
    for draw in (
        plot_disagreement, plot_calibration, plot_confusion, lambda f: plot_gallery(f, maps),
    ):  # fmt: skip
        files = [draw(found).save(tmp_path / f"{n}.png") for n in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(InputError, match="unknown theme"):
        plot_disagreement(found, theme="grey")
