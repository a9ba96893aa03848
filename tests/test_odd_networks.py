"""Networks that do what one does not expect: they stay as they were, and the results are right."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812

import vizkit
from vizkit.errors import InputError

INPUTS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SIZE = vizkit.Transform((32, 32), (32, 32))


def wrapped(net):
    return vizkit.wrap(net, transform=SIZE)


class Net(nn.Module):
    """A network of two convolutions, in evaluation mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
        self.act, self.again = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)
        self.eval()

    def forward(self, x):
        return self.head(self.again(self.second(self.act(self.first(x)))).mean((2, 3)))


class Lazy(Net):
    """Makes a constant when it first runs, and keeps it."""

    kernel = None

    def forward(self, x):
        x = self.first(x)
        if self.kernel is None:
            self.kernel = torch.ones(8, 1, 3, 3, device=x.device) / 9
        return self.head(F.conv2d(x, self.kernel, groups=8).mean((2, 3)))


def test_a_constant_made_on_the_way_is_not_kept_on_the_meta_device():
    net = Lazy()
    before = dict(vars(net))
    classifier = wrapped(net)
    vizkit.predict(classifier, INPUTS)
    assert vars(net) == before
    expected = Lazy()(INPUTS)
    assert torch.equal(net(INPUTS), expected)


class Unused(Net):
    """Does not use what its activation returns: it works in place."""

    def forward(self, x):
        x = self.second(self.act(self.first(x)))
        self.again(x)
        return self.head(x.mean((2, 3)))


def test_gradients_where_nobody_uses_what_an_activation_returns():
    found = vizkit.attribute(wrapped(Unused()), INPUTS, "hires_cam", stages=["act", "again"])
    expected = vizkit.attribute(wrapped(Net()), INPUTS, "hires_cam", stages=["act", "again"])
    for stage, maps in expected.values["hires_cam"].items():
        assert maps.abs().max() > 0
        assert torch.equal(found.values["hires_cam"][stage], maps)


class Counting(Net):
    """Counts its runs in a buffer, past autograd."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x):
        self.count.data += 1
        return super().forward(x)


def test_a_buffer_that_is_changed_past_autograd_is_put_back():
    net = Counting()
    vizkit.capture(net, INPUTS)
    vizkit.attribute(net, INPUTS)
    assert net.count.tolist() == [0, 0, 0]


def test_occlusion_of_a_layer_whose_forward_was_replaced():
    net = Net()
    plain = net.first.forward
    net.first.forward = lambda x: plain(x) * 3 + 1
    found = vizkit.attribute(wrapped(net), INPUTS[:1], "occlusion", 2, window=16, stride=16)
    with torch.no_grad():
        whole = net(INPUTS[:1])[0, 2]
        covered = INPUTS[:1].clone()
        covered[..., :16, :16] = 0
        lost = whole - net(covered)[0, 2]
    torch.testing.assert_close(found.values["occlusion"]["input"][0, 0, 0, 0], lost)


def test_checkpointing_is_off_while_a_network_is_explained():
    classifier = vizkit.load("demo/vovnet19b")
    expected = vizkit.attribute(classifier, vizkit.samples()["coffee"], ["grad_cam", "saliency"])
    classifier.module.set_grad_checkpointing(True)
    found = vizkit.attribute(classifier, vizkit.samples()["coffee"], ["grad_cam", "saliency"])
    for method, stages in expected.values.items():
        assert all(torch.equal(found.values[method][key], maps) for key, maps in stages.items())
    assert any(getattr(m, "grad_checkpointing", False) for m in classifier.module.modules())


def at_once(*tasks):
    """Run tasks in a thread each; return what went wrong."""
    failures = []

    def run(task):
        try:
            for _ in range(40):
                task()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return failures


def test_networks_that_share_a_part_take_turns(unchanged):
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True))
    nets = [
        nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n)) for n in (3, 4)
    ]
    models = [wrapped(net.train()) for net in nets]
    expected = [vizkit.attribute(each, INPUTS).values["grad_cam"]["stride1"] for each in models]
    wrong = []

    def explain(n):
        found = vizkit.attribute(models[n], INPUTS).values["grad_cam"]["stride1"]
        if not torch.equal(found, expected[n]):
            wrong.append(n)

    with unchanged(nets[0]), unchanged(nets[1]):
        assert at_once(lambda: explain(0), lambda: explain(1)) == []
    assert wrong == []


def test_a_thread_that_runs_the_network_itself_is_not_recorded():
    net = Net()
    model, others = wrapped(net), torch.rand(1, 3, 32, 32)
    expected, wrong = vizkit.capture(model, INPUTS, "layers"), []

    def look():
        found = vizkit.capture(model, INPUTS, "layers")
        if not all(torch.equal(found[tap], maps) for tap, maps in expected.items()):
            wrong.append(found)

    def run():
        with torch.no_grad():
            net(others)

    assert at_once(look, run) == []
    assert wrong == []


class Fussy(Net):
    """Refuses by an assertion, as timm's transformers do."""

    def forward(self, x):
        assert x.shape[-1] == 32, "only 32 px"
        return super().forward(x)


def test_what_a_network_asserts_is_said():
    with pytest.raises(vizkit.NetworkError, match="AssertionError: only 32 px"):
        vizkit.capture(wrapped(Fussy()), torch.rand(1, 3, 16, 16))


class Alone(Net):
    """Takes one image only."""

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)).reshape(1, 8))


@pytest.mark.parametrize("method", ["score_cam", "rise", "integrated_gradients", "smooth_grad"])
def test_a_network_of_one_image_fails_in_words(method):
    with pytest.raises(vizkit.NetworkError, match="Alone fails on an input of"):
        vizkit.attribute(wrapped(Alone()), INPUTS[:1], method)


class Fewer(Net):
    """Gives scores for the first image only."""

    def forward(self, x):
        return super().forward(x)[:1]


@pytest.mark.parametrize("ask", [vizkit.predict, vizkit.capture, vizkit.attribute])
def test_as_many_scores_as_images_are_wanted(ask):
    with pytest.raises(InputError, match=r"returns \(1, 5\) for 2 image"):
        ask(wrapped(Fewer()), INPUTS)


def test_what_is_no_number_cannot_be_explained():
    net = Net()
    net.head.bias.data[0] = torch.nan
    with pytest.raises(InputError, match="gives NaN or infinity"):
        vizkit.attribute(wrapped(net), INPUTS)


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 64, 3), np.uint8), np.zeros((4, 0), np.uint8), Image.new("RGB", (0, 5)), ""],
    ids=["no rows", "no columns", "empty photo", "empty path"],
)
def test_images_of_nothing(image):
    with pytest.raises(InputError, match=r"no pixels|empty"):
        vizkit.predict(wrapped(Net()), image)


def test_the_folder_of_nobody():
    with pytest.raises(InputError, match="no such image: ~nobody_at_all"):
        vizkit.predict(wrapped(Net()), "~nobody_at_all/a.png")
