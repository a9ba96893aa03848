"""One call from models and images to a picture."""

import numpy as np
import pytest

import vizkit

MODELS = ["demo/vgg11", "demo/vgg11_bn"]


@pytest.fixture(scope="module")
def photos():
    found = vizkit.samples()
    return {name: found[name] for name in ("coffee", "rocket")}


def test_show_feature_maps_draws_every_image_of_every_model(photos):
    figure = vizkit.show_feature_maps(MODELS, photos)
    titles = {panel.get_suptitle() for panel in figure.subfigs}
    assert titles == {f"{model}  ·  {name}" for model in MODELS for name in photos}
    assert {"name", "module", "stride"} <= set(figure.to_frame().columns)


def test_show_feature_maps_takes_layers_channels_and_arrays(photos):
    array = np.asarray(photos["rocket"])
    figure = vizkit.show_feature_maps("demo/vgg11", array, ["conv1_1", "conv5_2"], channels=[0, 3])
    assert "2 of 16 channels" in figure.axes[1].get_title()
    with pytest.raises(vizkit.InputError, match="has channels 0 to 15, not 99"):
        vizkit.show_feature_maps("demo/vgg11", array, "conv1_1", channels=[99])


def test_show_attributions_explains_one_class_in_all_models(photos):
    figure = vizkit.show_attributions(MODELS, photos["rocket"], targets="church")
    headings = [axes.get_title() for axes in figure.axes if axes.get_title().startswith("church")]
    assert len(headings) == 2


def test_show_statistics(photos):
    figure = vizkit.show_statistics(MODELS, photos, ["mean", "dead"])
    assert len([axes for axes in figure.axes if axes.lines]) == 2
    assert set(figure.to_frame()["statistic"]) == {"mean", "dead"}
