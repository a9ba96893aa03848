"""Throughput and memory: every setting runs, failures become reasons, and numbers are sane."""

import statistics
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.plots.speed import plot_speed
from vizkit.speed import Setting, interleaved, measure, thread_limit, throughput
from vizkit.speed.published import published_rows

CPU = torch.device("cpu")


class Doubling(nn.Module):
    """Runs in float32 only, as networks with custom kernels do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only\nand more about it")
        return self.conv(x).mean(dim=(-2, -1))


def quick(models, **options):
    given = {"batches": (2,), "runs": 2, "memory": False, **options}
    return throughput(models, **given)


def test_rounds_are_interleaved_and_the_first_is_not_counted():
    order = []
    tasks = [lambda: order.append("a"), lambda: (order.append("b"), time.sleep(0.01))]
    times = interleaved(tasks, [CPU, CPU], 3)
    assert order == ["a", "b"] * 4
    assert [len(own) for own in times] == [3, 3]
    assert min(times[1]) >= 0.01 > statistics.median(times[0])


def test_threads_are_limited_inside_only():
    before = torch.get_num_threads()
    with thread_limit(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_setting_changes_a_copy():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
    setting = Setting("bfloat16", "channels_last", batch=3)
    copy = setting.copy(net)
    inputs = setting.inputs((8, 6), CPU)
    assert inputs.shape == (3, 3, 8, 6)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert copy(inputs).dtype == torch.bfloat16
    assert copy[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.dtype == torch.float32
    assert net[0].weight.is_contiguous()
    plain = Setting(batch=3).inputs((8, 6), CPU)
    assert plain.is_contiguous()
    # the same noise, whatever the setting
    assert torch.equal(plain.bfloat16(), inputs)


def test_every_setting_is_a_row(demo, unchanged):
    with unchanged(demo.module):
        table = quick(demo, batches=(1, 3))
    assert len(table) == 8
    found = set(table[["precision", "layout", "batch"]].itertuples(index=False, name=None))
    assert found == {
        (precision, layout, batch)
        for precision in ("float32", "bfloat16")
        for layout in ("contiguous", "channels_last")
        for batch in (1, 3)
    }
    assert (table["source"] == "here").all()
    assert (table["low"] <= table["images_per_second"]).all()
    assert (table["images_per_second"] <= table["high"]).all()
    weights = sum(t.numel() for t in demo.module.state_dict().values() if t.is_floating_point())
    full = table.query("precision == 'float32'")["weights_mb"]
    assert full.to_numpy() == pytest.approx(weights * 4 / 1e6, rel=1e-3)
    assert table["peak_mb"].isna().all()
    assert (table["note"] == "").all()


def test_images_per_second_are_those_of_the_clock():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.register_forward_hook(lambda *_: time.sleep(0.05))
    classifier = vizkit.wrap(net, stages=["0"])
    rate = quick(classifier, precisions=("float32",), layouts=("contiguous",))
    # two images in little more than a twentieth of a second
    assert 1 < rate["images_per_second"][0] <= 40


def test_what_does_not_run_is_a_row_with_a_reason():
    classifier = vizkit.wrap(Doubling(), stages=["conv"])
    table = quick(classifier).set_index(["precision", "layout"])
    assert table.loc["float32", "images_per_second"].notna().all()
    assert table.loc["bfloat16", "images_per_second"].isna().all()
    assert set(table.loc["bfloat16", "note"]) == {"TypeError: float32 only"}


def test_what_a_compiler_cannot_do_is_a_row_with_a_reason(monkeypatch, demo):
    # a real compiler that fails: there is no C++ compiler of this name
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    torch._dynamo.reset()
    table = quick(demo, precisions=("float32",), layouts=("contiguous",), compiled=True)
    assert list(table["compiled"]) == [False, True]
    assert table["images_per_second"].notna().tolist() == [True, False]
    assert "compiler" in table["note"][1].lower()
    torch._dynamo.reset()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak")
def test_memory_is_that_of_a_fresh_process(demo):
    ways = {"precisions": ("float32",), "layouts": ("contiguous",), "memory": True}
    table = quick(demo, batches=(1, 64), **ways)
    small, large = table["peak_mb"]
    # the first convolution of 64 images of 128 px alone gives more than this
    maps = 64 * 16 * 128 * 128 * 4 / 1e6
    assert small > table["weights_mb"][0]
    assert maps < large - small < 12 * maps
    assert (table["note"] == "").all()


def test_memory_of_a_module_without_a_name_is_said_to_be_missing():
    classifier = vizkit.wrap(Doubling(), stages=["conv"])
    table = quick(classifier, precisions=("float32",), layouts=("contiguous",), memory=True)
    assert table["peak_mb"].isna().all()
    assert "loaded by its name" in table["note"][0]
    assert table["images_per_second"].notna().all()


def test_memory_that_cannot_be_measured_says_why(tmp_path):
    model = vizkit.load("demo/vgg11", device="cpu")
    file = tmp_path / "weights.pth"
    torch.save(model.module.state_dict(), file)
    loaded = vizkit.load("demo/vgg11", weights=file, device="cpu")
    file.unlink()
    ways = {"precisions": ("float32",), "layouts": ("contiguous",), "memory": True}
    table = quick(loaded, **ways)
    assert table["peak_mb"].isna().all()
    assert table["note"][0].startswith("peak memory: ")
    assert "weights.pth" in table["note"][0]


def test_timms_figures_stand_beside_its_own_networks():
    with torch.device("meta"):
        module = vizkit.load("ese_vovnet19b_dw", weights=None, device="meta")
    rows = pd.DataFrame(published_rows(module))
    assert len(rows) == 4
    here = rows[rows["device"] == "RTX 4090"].set_index("layout")["images_per_second"]
    assert here.to_dict() == {"channels_last": 8222.83, "contiguous": 8324.1}
    cpu = rows[rows["device"].str.startswith("CPU")].iloc[0]
    assert (cpu["precision"], cpu["compiled"], cpu["batch"]) == ("float32", True, 1)
    # another network of the same name, and no network of timm's
    assert published_rows(vizkit.load("demo/vgg11", device="cpu")) == []
    assert published_rows(vizkit.wrap(module.module, name="ese_vovnet19b_dw")) == []


def test_timms_figures_are_those_of_the_size():
    larger = vizkit.load("ese_vovnet19b_dw", weights=None, device="cpu")
    at_288 = vizkit.Transform(size=(288, 288))
    rows = published_rows(replace(larger, transform=at_288))
    assert sorted(row["images_per_second"] for row in rows) == [131.11, 3852.02, 4711.0, 4833.57]
    assert published_rows(replace(larger, transform=vizkit.Transform(size=(200, 200)))) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precisions": ("float16",)}, "unknown precision 'float16'; did you mean 'bfloat16'?"),
        ({"layouts": ("nhwc",)}, "unknown layout 'nhwc'; choose from contiguous, channels_last"),
        ({"batches": (0,)}, "batch must be a whole number of at least 1, not 0"),
        ({"batches": ()}, "nothing to measure"),
        ({"runs": 0}, "runs must be a whole number"),
        ({"threads": -1}, "threads must be a whole number"),
    ],
)
def test_impossible_settings(options, words):
    with pytest.raises(InputError) as error:
        quick("demo/vgg11", **options)
    assert words in str(error.value)


def test_a_report_measures_with_the_same_clock(demo, unchanged):
    other = vizkit.load("demo/vgg11", device="cpu")
    with unchanged(demo.module), unchanged(other.module):
        table = measure([demo, other], runs=3, batch=2)
    assert list(table["model"]) == ["demo/vgg11_bn", "demo/vgg11"]
    assert (table["fastest"] <= table["ms"]).all()
    assert (table["ms"] <= table["slowest"]).all()
    assert set(table["size"]) == {"128 x 128"}
    assert set(table["threads"]) == {torch.get_num_threads()}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture(theme, tmp_path):
    classifier = vizkit.wrap(Doubling(), stages=["conv"])
    table = quick(classifier)
    picture = plot_speed(table, theme=theme)
    file = picture.save(tmp_path / "speed.png")
    assert file.read_bytes() == plot_speed(table, theme=theme).save(file).read_bytes()
    left, right = picture.axes
    widths = [bar.get_width() for bar in left.patches]
    assert widths == pytest.approx(np.nan_to_num(table["images_per_second"]).tolist())
    assert [text.get_text() for text in left.texts][2:] == ["did not run", "did not run"]
    assert [text.get_text() for text in right.texts] == ["not measured"]


def test_the_picture_names_timms_figures_and_their_hardware():
    measured = quick("demo/vgg11", precisions=("float32",))
    theirs = measured.iloc[:1].assign(source="timm", device="RTX 4090", images_per_second=4978.9)
    picture = plot_speed(pd.concat([measured, theirs]))
    note = " ".join(picture.get_supxlabel().split())
    assert "Published by timm, on other hardware: demo/vgg11: RTX 4090 float32" in note
    assert "4979" in note


def test_nothing_to_draw():
    table = quick("demo/vgg11", precisions=("float32",)).assign(images_per_second=float("nan"))
    with pytest.raises(InputError, match="no setting ran"):
        plot_speed(table)
