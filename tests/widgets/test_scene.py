"""The scene against capture's and attribute's own numbers, decoded here independently."""

import json

import numpy as np
import pytest
import torch
from matplotlib import colormaps

import vizkit
from vizkit.images import as_images
from vizkit.statistics.places import windows
from vizkit.widgets.looking import Question, look
from vizkit.widgets.packing import Buffer, packed, top_of
from vizkit.widgets.palettes import PALETTES, lookup_tables
from vizkit.widgets.scene import heat_scene, map_scene

MARGIN = 1 + 1e-4


def decoded(scene, cell):
    """Values (kept, h, w), their error, and the table (kept, 5): what the browser computes."""
    kept, height, width = cell["kept"], cell["height"], cell["width"]
    table = np.frombuffer(scene.data, "<f4", 5 * kept, cell["table"]).reshape(kept, 5)
    codes = np.frombuffer(scene.data, np.uint8, kept * height * width, cell["codes"])
    low, high = table[:, 1, None, None].astype(float), table[:, 2, None, None].astype(float)
    values = low + codes.reshape(kept, height, width) * (high - low) / 255
    return values, (high - low) / 510 * MARGIN + 1e-9, table


def question(models, photo, **more):
    return Question(tuple(models), as_images(photo), **more)


@pytest.fixture(scope="module")
def seen(models, photo):
    return look(question(models, photo))


@pytest.fixture(scope="module")
def scene(seen):
    return map_scene(seen)


@pytest.mark.parametrize("n", range(3))
def test_values_are_those_of_capture_within_the_error_that_is_stated(models, photo, scene, n):
    maps = vizkit.capture(models[n], photo)
    cells = [cell for cell in scene.meta["models"][n]["cells"] if cell]
    assert [(cell["tap"], cell["stride"]) for cell in cells] == [(t.name, t.stride) for t in maps]
    for cell, true in zip(cells, (each[0].double().numpy() for each in maps.values()), strict=True):
        values, error, table = decoded(scene, cell)
        channels = table[:, 0].astype(int)
        assert sorted(channels) == list(range(len(true))), "every channel, once"
        assert (np.abs(values - true[channels]) <= error).all()
        energy = np.square(true).sum(axis=(1, 2))[channels]
        assert (np.diff(energy) <= 1e-6 * energy[0]).all(), "strongest first"
        own = true[channels].reshape(len(true), -1)
        facts = np.stack([own.min(1), own.max(1), own.mean(1), (own == 0).mean(1)], axis=1)
        np.testing.assert_allclose(table[:, 1:], facts, rtol=1e-4, atol=1e-5)
        assert cell["top"] == pytest.approx(np.percentile(np.abs(true), 99.5), rel=1e-5)


def test_energy_is_the_root_mean_square_of_all_channels(models, photo, scene):
    maps = vizkit.capture(models[2], photo)
    cell = scene.meta["models"][2]["energy"][2]
    values, error, _ = decoded(scene, cell)
    true = np.sqrt(np.square(maps["stride4"][0].double().numpy()).mean(axis=0))
    assert (np.abs(values[0] - true) <= error + 1e-5).all()


def test_models_are_aligned_on_stride_and_gaps_are_empty(scene):
    assert scene.meta["places"] == [f"stride {2**n}" for n in range(6)]
    strides = [[c and c["stride"] for c in m["cells"]] for m in scene.meta["models"]]
    assert strides == [[1, 2, 4, 8, 16, 32]] * 2 + [[None, 2, 4, 8, 16, 32]]
    assert scene.meta["models"][2]["energy"][0] is None


def test_photo_and_predictions_are_the_networks_own(models, photo, scene):
    assert len(scene.meta["photos"]) == 1, "all three see the same pixels"
    place = scene.meta["photos"][0]
    size = 3 * place["height"] * place["width"]
    pixels = np.frombuffer(scene.data, np.uint8, size, place["offset"]).reshape(128, 128, 3)
    assert np.array_equal(pixels, models[0].transform.view(photo))
    for model, each in zip(models, scene.meta["models"], strict=True):
        expected = vizkit.predict(model, photo, k=3)
        assert [p["class"] for p in each["predictions"]] == list(expected["class"])
        found = [p["probability"] for p in each["predictions"]]
        np.testing.assert_allclose(found, expected["probability"], atol=1e-5)


def test_receptive_fields_are_those_of_the_profile(models, seen):
    own = {m.name: windows(m.module, list(seen.maps[m.name]), (128, 128)) for m in models}
    meta = map_scene(seen, own).meta
    for model, each in zip(models, meta["models"], strict=True):
        table = vizkit.profile(model).set_index("stage")["receptive_field"]
        for cell in filter(None, each["cells"]):
            start, step, size = cell["field"]["x"]
            assert size == table[cell["tap"]]
            assert step == cell["stride"]
            assert cell["field"]["y"] == cell["field"]["x"]
            assert abs(start + (size - step) / 2) <= step, "the field lies about its place"


def test_scales_span_what_they_tie(scene):
    rows = [each["cells"] for each in scene.meta["models"]]
    tops = np.array([[cell["top"] if cell else np.nan for cell in row] for row in rows])
    scales = scene.meta["scales"]["maps"]
    assert scales["stage"] == [[0.0, top] for top in np.nanmax(tops, axis=0)]
    assert scales["model"] == [[0.0, top] for top in np.nanmax(tops, axis=1)]
    assert scales["all"] == [0.0, np.nanmax(tops)]


def test_signed_maps_have_scales_about_zero(models, photo):
    scene = map_scene(look(question(models, photo, read_at="layers, convolutions")))
    cells = [cell for each in scene.meta["models"] for cell in each["cells"] if cell]
    assert {cell["role"] for cell in cells} == {"conv"}
    low, high = scene.meta["scales"]["maps"]["all"]
    assert low == -high < 0


def test_a_role_that_a_network_does_not_have_is_an_empty_row(models, photo):
    scene = map_scene(look(question(models, photo, read_at="layers, after normalisation")))
    plain, normalised, _ = scene.meta["models"]
    assert set(plain["cells"]) == {None}
    assert {cell["role"] for cell in normalised["cells"] if cell} == {"norm"}


def test_little_room_keeps_the_strongest_channels(seen, scene):
    small = map_scene(seen, room=len(scene.data) // 4)
    assert len(small.data) < 0.8 * len(scene.data)
    for few, many in zip(small.meta["models"], scene.meta["models"], strict=True):
        for one, other in zip(few["cells"], many["cells"], strict=True):
            if one:
                assert 16 <= one["kept"] <= one["channels"] == other["kept"]
                table = decoded(small, one)[2]
                assert np.array_equal(table, decoded(scene, other)[2][: one["kept"]])


# what is off by much is told in the picture
@pytest.mark.filterwarnings("ignore::vizkit.errors.ConvergenceWarning")
@pytest.mark.parametrize(
    ("method", "count"), [("grad_cam", 3), ("saliency", 3), ("integrated_gradients", 1)]
)
def test_attributions_are_those_of_attribute(models, photo, method, count):
    models = models[:count]
    found = look(question(models, photo, method=method, target="church"))
    scene = heat_scene(found, method)
    assert scene.meta["targets"][0]["class"] == "church"
    assert scene.meta["same"]
    for model, row in zip(models, scene.meta["cells"], strict=True):
        true = vizkit.attribute(model, photo, method, "church").values[method]
        cells = [cell for cell in row if cell]
        assert len(cells) == len(true)
        for cell, each in zip(cells, true.values(), strict=True):
            values, error, _ = decoded(scene, cell)
            own = each[0, 0].double().numpy()
            slack = 1e-4 * np.abs(own).max()
            assert (np.abs(values[0] - own) <= error + slack).all()
    errors = [each["error"] for each in scene.meta["targets"]]
    assert all(isinstance(each, float) == (method == "integrated_gradients") for each in errors)


def test_a_look_is_what_compare_gives(models, photo, scene, seen):
    compared = vizkit.compare(models, photo)
    same = map_scene(compared)
    assert json.dumps(same.meta) == json.dumps(scene.meta)
    assert same.data == scene.data
    assert heat_scene(compared, "grad_cam").data == heat_scene(seen, "grad_cam").data
    assert heat_scene(compared, "grad_cam").meta == heat_scene(seen, "grad_cam").meta


def test_any_image_of_a_comparison_can_be_shown(models, scene, photo):
    other = vizkit.samples()["coffee"]
    compared = vizkit.compare(models, {"first": other, "second": photo})
    second = map_scene(compared, image=1)
    assert second.meta["image"] == "second"
    for one, same in zip(second.meta["models"], scene.meta["models"], strict=True):
        names = [p["class"] for p in same["predictions"]]
        assert [p["class"] for p in one["predictions"]] == names


def test_what_is_not_finite_is_refused():
    maps = torch.zeros(3, 4, 4)
    maps[1, 2, 3] = torch.nan
    with pytest.raises(vizkit.InputError, match="not finite"):
        packed(Buffer(), maps)


def test_constant_and_empty_maps_have_exact_values():
    maps = torch.stack([torch.full((2, 2), -1.5), torch.zeros(2, 2)])
    buffer = Buffer()
    cell = packed(buffer, maps)
    data = buffer.joined()
    table = np.frombuffer(data, "<f4", 10, cell["table"]).reshape(2, 5)
    assert table.tolist() == [[0, -1.5, -1.5, -1.5, 0], [1, 0, 0, 0, 1]]
    assert set(data[cell["codes"] :]) == {0}
    assert cell["signed"]
    assert top_of(torch.zeros(5)) == 1.0
    assert top_of(torch.tensor([2.0])) == 2.0


def test_scenes_are_json_whatever_names_hold(photo, models):
    scene = map_scene(look(question(models, {"<b>\u2028&": photo})))
    assert json.loads(json.dumps(scene.meta, allow_nan=False))["image"] == r"<b>\u2028&"


def test_palettes_are_matplotlibs():
    tables = np.frombuffer(lookup_tables(), np.uint8).reshape(len(PALETTES), 256, 3)
    for name, table in zip(PALETTES, tables, strict=True):
        expected = np.array([colormaps[name](i)[:3] for i in range(256)])
        assert np.abs(table - 255 * expected).max() <= 1
