"""What cannot fit is refused beforehand; what turns out too large is done in halves."""

import itertools

import numpy as np
import pytest
import timm
import torch
from torch import nn

import vizkit
from vizkit import memory
from vizkit.memory import in_parts, require_room, room_on

CPU = torch.device("cpu")
IMAGES = torch.rand(9, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Narrow(nn.Module):
    """Has memory for three images: with more, it runs out of it half way through."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(8, 6, 3, stride=2)
        self.head = nn.Linear(6, 4)
        self.most = 3
        # plain attributes are put back after each pass
        self.counts = {"failures": 0}

    def forward(self, x):
        x = self.relu(self.first(x))
        if len(x) > self.most and not x.is_meta:
            self.counts["failures"] += 1
            raise torch.OutOfMemoryError("out of memory. Tried to allocate 20.00 GiB")
        return self.head(self.second(x).mean((-2, -1)))


@pytest.fixture
def narrow():
    return Narrow().eval()


@pytest.fixture
def roomy():
    net = Narrow().eval()
    net.most = 1000
    return net


def frames_equal(one, other):
    assert list(one.columns) == list(other.columns)
    for name in one:
        if one[name].dtype.kind == "f":
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-9, err_msg=name)
        else:
            assert one[name].tolist() == other[name].tolist(), name


class TestHalves:
    """CUDA out of memory, as a network raises it: the answers are those of enough memory."""

    def test_capture(self, narrow, roomy, unchanged):
        with unchanged(narrow):
            found, expected = vizkit.capture(narrow, IMAGES), vizkit.capture(roomy, IMAGES)
        assert narrow.counts["failures"]
        assert found.seen.names == expected.seen.names
        torch.testing.assert_close(found.inputs, expected.inputs, rtol=0, atol=0)
        for tap in expected:
            torch.testing.assert_close(found[tap], expected[tap])

    def test_attribute(self, narrow, roomy):
        targets = torch.arange(9) % 4
        methods = ["grad_cam", "saliency", "occlusion"]
        found, expected = (
            vizkit.attribute(net, IMAGES, methods, targets, window=8) for net in (narrow, roomy)
        )
        assert narrow.counts["failures"]
        assert torch.equal(found.targets, expected.targets)
        for method, values in expected.values.items():
            for where, value in values.items():
                torch.testing.assert_close(found.values[method][where], value)

    @pytest.mark.parametrize("statistics", [None, "all"])
    def test_describe(self, narrow, roomy, statistics):
        found, expected = (
            vizkit.describe(net, IMAGES, statistics, places=None) for net in (narrow, roomy)
        )
        assert narrow.counts["failures"]
        frames_equal(found.frame, expected.frame)
        frames_equal(found.channels, expected.channels)

    def test_predict_and_embed(self, narrow, roomy):
        frames_equal(vizkit.predict(narrow, IMAGES, k=4), vizkit.predict(roomy, IMAGES, k=4))
        for pool in (True, False):
            torch.testing.assert_close(
                vizkit.embed(narrow, IMAGES, pool), vizkit.embed(roomy, IMAGES, pool)
            )
        assert narrow.counts["failures"] >= 3

    def test_similarity(self, narrow, roomy):
        found, expected = (vizkit.similarity(net, IMAGES) for net in (narrow, roomy))
        assert narrow.counts["failures"]
        np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-6)

    def test_compare(self, narrow, roomy):
        found, expected = (
            vizkit.compare({"a": net, "b": roomy}, IMAGES, targets=1) for net in (narrow, roomy)
        )
        assert narrow.counts["failures"]
        frames_equal(found.statistics.frame, expected.statistics.frame)

    def test_top_patches_and_fields(self, narrow, roomy):
        found, expected = (vizkit.top_patches(net, IMAGES, "second") for net in (narrow, roomy))
        frames_equal(found.frame, expected.frame)
        found, expected = (vizkit.receptive_fields(net, IMAGES) for net in (narrow, roomy))
        frames_equal(found.frame, expected.frame)
        assert narrow.counts["failures"] >= 2

    def test_one_image_that_does_not_fit_is_told(self, narrow, unchanged):
        narrow.most = 0
        for use in (vizkit.capture, vizkit.describe, vizkit.predict, vizkit.attribute):
            with unchanged(narrow), pytest.raises(torch.OutOfMemoryError, match="Tried to alloc"):
                use(narrow, IMAGES)


class TestInParts:
    @pytest.mark.parametrize(("count", "most"), list(itertools.product([1, 2, 7, 16], [1, 3, 100])))
    def test_every_input_once_and_in_order(self, count, most):
        def work(part):
            if part.stop - part.start > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return list(range(part.start, part.stop))

        found = in_parts(work, count)
        assert list(itertools.chain(*found)) == list(range(count))

    def test_other_errors_are_not_tried_again(self):
        calls = []

        def work(part):
            calls.append(part)
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            in_parts(work, 8)
        assert len(calls) == 1


class TestRoom:
    def test_is_what_the_machine_can_give(self):
        room = room_on(CPU)
        assert 1e7 < room < 1e14
        require_room(int(1e6), CPU, "a little", "")
        with pytest.raises(vizkit.TooLargeError, match=r"much would take 1000.0 GB .* less"):
            require_room(10**12, CPU, "much", "take less")

    def test_limits_of_a_container_count_without_what_is_only_cached(self, tmp_path, monkeypatch):
        monkeypatch.setattr(memory, "_GROUP", tmp_path)
        (tmp_path / "memory.max").write_text("5000000\n")
        (tmp_path / "memory.current").write_text("4000000\n")
        (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 300000\nactive_file 5\n")
        assert room_on(CPU) == 1_300_000
        (tmp_path / "memory.max").write_text("max\n")
        assert room_on(CPU) > 1_300_000

    def test_unknown_devices_refuse_nothing(self):
        assert room_on(torch.device("meta")) is None
        require_room(10**18, torch.device("meta"), "everything", "nothing")

    def test_capture_that_cannot_fit_is_refused_before_it_begins(self, tmp_path, monkeypatch):
        """VGG19, 64 images, all layers: 8 GB."""
        monkeypatch.setattr(memory, "_GROUP", tmp_path)
        for name, text in (
            ("memory.max", "4000000000"),
            ("memory.current", "1000000000"),
            ("memory.stat", "inactive_file 0"),
        ):
            (tmp_path / name).write_text(text)
        vgg = timm.create_model("vgg19", num_classes=5)
        runs = []
        vgg.register_forward_hook(lambda _module, _inputs, output: runs.append(output.is_meta))
        model = vizkit.wrap(vgg)
        images = torch.zeros(1, 3, 224, 224).expand(64, -1, -1, -1)
        with pytest.raises(vizkit.TooLargeError, match=r"8\.\d GB .* 3\.0 GB are left .*describe"):
            vizkit.capture(model, images, "layers")
        with pytest.raises(MemoryError):
            vizkit.capture(model, images, "layers")
        assert all(runs), "stages and layers are found without arithmetic, and no image was run"

    def test_the_estimate_is_what_is_taken(self, demo, monkeypatch):
        asked = []
        monkeypatch.setattr("vizkit.forward.require_room", lambda needed, *_: asked.append(needed))
        images = torch.rand(3, 3, 128, 128)
        for at in ("stages", "layers"):
            maps = vizkit.capture(demo, images, at)
            taken = sum(each.nbytes for each in maps.values()) + maps.inputs.nbytes
            assert asked.pop() == pytest.approx(taken, rel=0.01)

    def test_compare_refuses_a_folder_whose_maps_do_not_fit(self, narrow, monkeypatch):
        monkeypatch.setattr(memory, "room_on", lambda _device: 10_000)
        with pytest.raises(vizkit.TooLargeError, match=r"more images would take .* compare fewer"):
            vizkit.compare({"a": narrow, "b": narrow}, torch.rand(40, 3, 16, 16))
