"""Pictures of trust: curves, matrices and strips show the numbers they are given."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import vizkit
from vizkit.attribution import agreement, attribute, perturbation_curves, randomisation
from vizkit.errors import InputError
from vizkit.plots import plot_agreement, plot_attributions, plot_curves, plot_randomisation

MODEL = "demo/vgg11_bn"
themes = pytest.mark.parametrize("theme", ["light", "dark"])


@pytest.fixture(scope="module")
def photo():
    return {"rocket": vizkit.samples()["rocket"]}


@pytest.fixture(scope="module")
def found(photo):
    methods = ["grad_cam", "hires_cam", "saliency"]
    return attribute(MODEL, photo, methods, "church", ["stride8", "stride16"])


def words_of(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(mpl.text.Text))


def heat_of(figure):
    return [i for axes in figure.axes for i in axes.images if i.get_alpha() is not None]


class TestGrids:
    def test_signed_methods_are_centred_at_zero_everywhere(self, found):
        found.values["hires_cam"]["stride16"].clamp_(min=0)
        norms = [image.norm for image in heat_of(plot_attributions(found))]
        # a row for Grad-CAM with the saliency beside it, a row for HiRes-CAM
        assert [norm.vmin < 0 for norm in norms] == [False, False, False, True, True]
        assert all(norm.vmin in (0, -norm.vmax) for norm in norms)

    def test_methods_never_share_a_scale(self, found):
        norms = [image.norm for image in heat_of(plot_attributions(found, scale="all"))]
        assert len({norm.vmax for norm in norms}) == 3

    def test_one_scale_reaches_the_top_of_its_highest_map(self, found):
        maps = found.select(methods="hires_cam")
        norms = {image.norm.vmax for image in heat_of(plot_attributions(maps, scale="all"))}
        tops = [
            np.percentile(np.abs(v.double().numpy()), 99.5)
            for v in maps.values["hires_cam"].values()
        ]
        assert norms == {max(tops)}

    def test_methods_are_called_by_their_labels(self, found):
        assert all(name in words_of(plot_attributions(found)) for name in ("Grad-CAM", "Saliency"))

    def test_many_input_level_methods_stand_in_rows_of_their_own(self, photo):
        quick = ["saliency", "input_x_gradient", "guided_backprop", "guided_grad_cam"]
        maps = attribute(MODEL, photo, ["grad_cam", *quick], "church", ["stride16"])
        figure = plot_attributions(maps)
        first, second = (axes.get_subplotspec().rowspan.start for axes in figure.axes[::7])
        assert (first, second) == (0, 1)
        assert len(heat_of(figure)) == 5

    def test_against_another_class_says_so(self, photo):
        maps = attribute(MODEL, photo, targets="church", against="parachute", stages=["stride16"])
        assert "\n\u2212 parachute" in words_of(plot_attributions(maps))

    def test_contours_lie_where_the_map_crosses_a_level(self, found):
        maps = found.select(methods="grad_cam", stages="stride16")
        values = maps.values["grad_cam"]["stride16"][0, 0]
        values.zero_()
        values[2, 5] = 1
        figure = plot_attributions(maps, draw="contours")
        (lines,) = figure.findobj(mpl.contour.QuadContourSet)
        points = np.concatenate([path.vertices for path in lines.get_paths() if len(path)])
        # an 8 x 8 map of 128 pixels: the cell's centre is at 5.5 * 16 and 2.5 * 16
        assert points.mean(axis=0) == pytest.approx([87.5, 39.5], abs=3)
        assert np.ptp(points, axis=0).max() < 40

    def test_raw_cells(self, found):
        maps = found.select(methods="grad_cam", stages="stride16")
        figure = plot_attributions(maps, draw="map")
        drawn = [i for axes in figure.axes for i in axes.images if i.get_array().shape == (8, 8)]
        assert np.array_equal(drawn[0].get_array(), maps.values["grad_cam"]["stride16"][0, 0])

    def test_unknown_drawing(self, found):
        with pytest.raises(InputError, match="unknown drawing 'contour'; did you mean 'contours'"):
            plot_attributions(found, draw="contour")

    def test_a_long_footnote_is_wrapped(self, found):
        figure = plot_attributions(found.select(methods="saliency"))
        figure.draw_without_rendering()
        (note,) = [t for t in figure.findobj(mpl.text.Text) if t.get_text().startswith("Colours")]
        assert note.get_window_extent().x1 <= figure.bbox.x1


@themes
class TestTrust:
    def test_curves_are_means(self, found, theme):
        curves = perturbation_curves(MODEL, found, steps=3)
        other = curves.assign(image="other", probability=curves["probability"] / 2)
        figure = plot_curves(pd.concat([curves, other]), theme=theme)
        line = figure.axes[0].lines[0]
        own = curves.query("method == 'grad_cam' and stage == 'stride8' and curve == 'deletion'")
        assert line.get_ydata() == pytest.approx(own["probability"].to_numpy() * 0.75)
        area = np.trapezoid(own["probability"] * 0.75, own["fraction"])
        assert line.get_label().startswith(f"{area:.2f} / ")
        assert "over 2 map(s)" in words_of(figure)

    def test_a_matrix_of_agreement(self, found, theme):
        table = agreement(found)
        figure = plot_agreement(table, "iou", theme=theme)
        shown = np.asarray(figure.axes[0].images[0].get_array())
        assert np.array_equal(shown, shown.T)
        assert (np.diag(shown) == 1).all()
        assert shown[0, 1] == table["iou"][0]
        assert "overlap of the top places" in words_of(figure)

    def test_a_strip_of_random_weights(self, photo, theme):
        result = randomisation(MODEL, photo, ["grad_cam", "saliency"], stages=["stride16"])
        figure = plot_randomisation(result.steps, result.frame, theme=theme)
        text = words_of(figure)
        assert len(result.steps) == 7
        assert all(step in text for step in result.steps)
        assert "1.00" in text


def test_what_cannot_be_drawn(found):
    table = agreement(found)
    with pytest.raises(InputError, match="unknown measure 'iuo'; did you mean 'iou'"):
        plot_agreement(table, "iuo")
    with pytest.raises(InputError, match="no pairs"):
        plot_agreement(table.iloc[:0])
    with pytest.raises(InputError, match="no curves"):
        plot_curves(pd.DataFrame())
    result = randomisation(MODEL, found.inputs, stages=["stride16"])
    with pytest.raises(InputError, match="no image 3: there are 1"):
        plot_randomisation(result.steps, result.frame, image=3)


def test_pairs_without_a_number_are_crossed_out(found):
    table = agreement(found)
    table.loc[0, "spearman"] = np.nan
    figure = plot_agreement(table)
    (crosses,) = [c for c in figure.axes[0].collections if len(c.get_offsets())]
    assert sorted(map(tuple, crosses.get_offsets().tolist())) == [(0, 1), (1, 0)]
