"""A network that fails says at what, and images that are too small how large they must be."""

import pytest
import timm
import torch
from torch import nn

import vizkit
from vizkit.hooks import evaluating
from vizkit.running import run


@pytest.fixture(scope="module")
def vgg():
    return timm.create_model("vgg11", num_classes=5)


@pytest.mark.parametrize("side", [1, 8, 31])
def test_images_that_are_too_small(vgg, unchanged, side):
    small = torch.rand(1, 3, side, side)
    with unchanged(vgg), pytest.raises(vizkit.NetworkError, match="at least 32 x 32 px"):
        vizkit.capture(vgg, small)
    with pytest.raises(RuntimeError, match="at least 32 x 32 px"):
        vizkit.predict(vgg, torch.rand(1, 3, 224, side), k=1)


@pytest.mark.parametrize(
    "look",
    [
        vizkit.attribute,
        vizkit.describe,
        vizkit.embed,
        vizkit.receptive_fields,
        lambda *given: vizkit.top_patches(*given, "stride8"),
        lambda *given: vizkit.similarity(*given, at="stages"),
        vizkit.compare,
    ],
)
def test_every_operation_says_it(demo, unchanged, look):
    small = torch.rand(5, 3, 16, 16)
    with unchanged(demo.module), pytest.raises(vizkit.NetworkError, match="at least 32 x 32 px"):
        look(demo, small)


def test_the_least_size_is_taken(vgg):
    assert vizkit.capture(vgg, torch.rand(1, 3, 32, 32)).logits.shape == (1, 5)


def test_what_fails_for_another_reason_gives_that_alone():
    class Fails(nn.Conv2d):
        def forward(self, x):
            raise RuntimeError("no luck\nand more")

    with pytest.raises(vizkit.NetworkError) as caught, evaluating(net := Fails(3, 3, 3)):
        run(net, torch.rand(2, 3, 8, 8))
    assert str(caught.value) == "Fails fails on an input of (2, 3, 8, 8): no luck"
    assert str(caught.value.__cause__) == "no luck\nand more"


def test_one_size_only_is_no_matter_of_too_small():
    """Positions of patches are counted for one size: a larger image fails, too."""

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.places = nn.Parameter(torch.rand(1, 4, 222, 222))
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head((self.conv(x) + self.places).mean((-2, -1)))

    with pytest.raises(vizkit.NetworkError, match=r"fails on an input of \(1, 3, 64, 64\): The"):
        vizkit.capture(Fixed(), torch.rand(1, 3, 64, 64))


def test_errors_of_the_users_own_kind_are_the_users_own():
    class Stop(Exception):  # noqa: N818
        pass

    def stop(*_):
        raise Stop

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = vizkit.wrap(net)
    net[0].register_forward_hook(stop)
    with pytest.raises(Stop):
        vizkit.capture(model, torch.rand(1, 3, 8, 8))


def test_an_input_that_a_network_changes_is_not_the_users():
    class Changes(nn.Module):
        def forward(self, x):
            return x.zero_()

    inputs = torch.ones(1, 3, 4, 4)
    with evaluating(net := Changes()):
        run(net, inputs)
    assert inputs.eq(1).all()


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.rand(0, 3, 8, 8), "no images"),
        (torch.rand(1, 3, 0, 8), r"no pixels: \(1, 3, 0, 8\)"),
        (torch.rand(1, 4, 8, 8), r"not torch.float32 \(1, 4, 8, 8\)"),
        (torch.full((1, 3, 8, 8), float("nan")), "NaN or infinity"),
        (torch.full((1, 3, 8, 8), float("-inf")), "NaN or infinity"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "must be float"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.complex64), "must be float"),
        (torch.zeros(1, 3, 8, 8, device="meta"), "meta device"),
        (torch.zeros(1, 3, 8, 8).to_sparse(), "sparse"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@pytest.mark.parametrize("use", [vizkit.capture, vizkit.describe, vizkit.attribute])
def test_tensors_that_are_no_images(images, reason, use):
    with pytest.raises(vizkit.InputError, match=reason):
        use(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), images)
