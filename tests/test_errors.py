"""Errors name the bad value and the choices."""

from vizkit.errors import InputError, VizkitError, WeightsError, unknown


def test_unknown_names_suggests_and_lists():
    error = unknown("method", "gradcam", ["grad_cam", "saliency"])
    assert str(error) == (
        "unknown method 'gradcam'; did you mean 'grad_cam'? choose from grad_cam, saliency"
    )
    assert isinstance(error, ValueError)


def test_far_names_and_long_lists():
    assert "did you mean" not in str(unknown("stage", "xyz", ["stride1"]))
    text = str(unknown("model", "q", [f"m{i}" for i in range(50)], most=3))
    assert text.endswith("choose from m0, m1, m2, … (50 in all)")


def test_one_family():
    assert issubclass(InputError, VizkitError)
    assert issubclass(WeightsError, VizkitError)
