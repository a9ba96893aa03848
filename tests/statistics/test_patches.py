"""The best patches are those that looking at every map finds, and hold all that excites them."""

import gc
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vizkit
from vizkit.errors import InputError
from vizkit.images import Transform, as_images, prepare, read
from vizkit.statistics.best import Best

BOX = ["x0", "y0", "x1", "y1"]
PHOTO = [f"photo_{side}" for side in BOX]
PLACE = ["layer", "channel", "rank", "file", "row", "column", *BOX]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fourteen photos of several sizes, and a file that is none."""
    path = tmp_path_factory.mktemp("photos")
    for i in range(14):
        name, photo = list(vizkit.samples().items())[i % 5]
        left, top = 17 * i, 9 * i
        size = (150 + 11 * i, 240 - 6 * i)
        photo.crop((left, top, left + size[0], top + size[1])).save(path / f"{i:02} {name}.jpg")
    (path / "05 broken.jpg").write_bytes(b"no photo")
    return path


def readable(folder):
    return [path for path in sorted(folder.glob("*.jpg")) if "broken" not in path.name]


def brute_force(model, images, at, k):
    """Value, image, row and column of every channel's best, by looking at everything."""
    ((_, maps),) = vizkit.capture(model, images, [at]).items()
    maps = maps.double().numpy()
    rows = []
    for channel in range(maps.shape[1]):
        found = []
        for image, plane in enumerate(maps[:, channel]):
            row, column = np.argwhere(plane == plane.max())[0]
            found.append((plane.max(), image, row, column))
        rows += [(channel, *each) for each in sorted(found, key=lambda each: -each[0])[:k]]
    return np.array(rows)


@pytest.mark.parametrize(
    ("model", "at"), [("demo/vgg11_bn", "stride8"), ("demo/vovnet19b", "stride32")]
)
def test_every_channel_by_brute_force(model, at, folder):
    loaded = vizkit.load(model, device="cpu")
    photos = readable(folder)
    (tap,) = vizkit.find_stages(loaded, at)
    found = vizkit.top_patches(loaded, photos, at, range(tap.channels), k=4).frame
    expected = brute_force(loaded, photos, at, 4)
    numbers = found[["channel", "value", "image", "row", "column"]].to_numpy()
    assert np.allclose(numbers[:, 1], expected[:, 1], atol=1e-5)
    # another batch may round otherwise: where two values are as good as equal, they may swap
    clear = np.diff(expected[:, 1], prepend=np.inf, append=-np.inf)
    clear = (np.abs(clear[:-1]) > 1e-4) & (np.abs(clear[1:]) > 1e-4) | (expected[:, 1] == 0)
    assert clear.mean() > 0.95
    assert np.array_equal(numbers[clear][:, [0, 2, 3, 4]], expected[clear][:, [0, 2, 3, 4]])


def test_batch_size_and_order_do_not_matter(demo, folder):
    options = {"at": "conv3_2", "channels": range(12), "k": 5}
    first = vizkit.top_patches(demo, folder, **options)
    for size in (1, 5):
        other = vizkit.top_patches(demo, folder, **options, batch_size=size)
        assert first.frame[PLACE].equals(other.frame[PLACE])
        assert np.allclose(first.frame["value"], other.frame["value"], atol=1e-4)
        assert all(map(np.array_equal, first.crops, other.crops))
    photos = sorted(folder.iterdir(), reverse=True)
    turned = vizkit.top_patches(demo, photos, **options)
    assert first.frame[PLACE].equals(turned.frame[PLACE])
    assert all(map(np.array_equal, first.crops, turned.crops))


def plain(*layers, channels=4):
    """A network that ends with these layers' mean."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 2))


def tensors(count, size=(12, 16), seed=0):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_of_equal_values_the_first_place_and_image_win():
    net = plain(nn.Conv2d(3, 4, 1))
    nn.init.ones_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    images = torch.zeros(5, 3, 8, 8)
    images[[1, 3], :, 2, 5] = images[[1, 3], :, 4, 0] = 1
    found = vizkit.top_patches(net, images, "0", [0], k=4, batch_size=2).frame
    assert found["image"].tolist() == [1, 3, 0, 2]
    assert found[["row", "column"]].to_numpy().tolist() == [[2, 5], [2, 5], [0, 0], [0, 0]]


def ungated(model):
    """A copy without the gates that see everything."""
    module = deepcopy(vizkit.load(model, device="cpu").module)
    for block in module.modules():
        if hasattr(block, "attn"):
            block.attn = nn.Identity()
    return vizkit.wrap(module, name=model)


@pytest.mark.parametrize(
    ("model", "at"),
    [("demo/vgg11_bn", "conv3_2"), ("demo/vgg11_bn", "stride8"), ("demo/vovnet19b", "stride4")],
)
def test_nothing_outside_the_box_matters_and_what_is_inside_does(model, at, folder):
    net = ungated(model)
    photos = readable(folder)
    found = vizkit.top_patches(net, photos, at, [0, 3, 5], k=3).frame
    inputs, _ = prepare(as_images(photos), net.transform)
    noise = 2 * torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(0))
    for row in found[found["value"] > 0].itertuples():
        inside = torch.zeros(inputs.shape[-2:], dtype=torch.bool)
        inside[row.y0 : row.y1, row.x0 : row.x1] = True
        assert not inside.all()
        image = inputs[row.image]
        changed = torch.stack(
            [torch.where(inside, image, noise), torch.where(inside, noise, image)]
        )
        ((_, maps),) = vizkit.capture(net, changed, [at]).items()
        kept, lost = maps[:, row.channel, row.row, row.column].tolist()
        assert kept == pytest.approx(row.value, abs=1e-4)
        assert abs(lost - row.value) > 0.01


def test_the_box_is_tight_along_both_axes_of_wide_inputs():
    net = plain(
        nn.Conv2d(3, 4, (3, 7), stride=(2, 1), padding=(1, 3)),
        nn.ZeroPad2d((1, 2, 0, 3)),
        nn.AvgPool2d((2, 5), (1, 3), (1, 2)),
    )
    for parameter in net.parameters():
        parameter.data = parameter.data.abs() + 0.1
    images = tensors(6, (40, 64))
    found = vizkit.top_patches(net, images, "2", range(4), k=6).frame
    for row in found.itertuples():
        pixels = images[row.image : row.image + 1].clone().requires_grad_()
        net[:3](pixels)[0, row.channel, row.row, row.column].backward()
        seen = pixels.grad.abs().sum(dim=(0, 1))
        rows, columns = seen.sum(dim=1).nonzero(), seen.sum(dim=0).nonzero()
        spans = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert [int(each) for each in spans] == [row.x0, row.y0, row.x1, row.y1]


class Last(nn.Module):
    """Channels-last maps in the middle, as ConvNeXt's blocks have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.turned = nn.LayerNorm(5)

    def forward(self, x):
        return self.turned(self.conv(x).permute(0, 2, 3, 1)).mean(dim=(1, 2))


def test_channels_last_maps():
    net = vizkit.wrap(Last(), transform=Transform(size=(32, 48)), stages=["turned"])
    (tap,) = net.stages
    assert tap.channels_last
    found = vizkit.top_patches(net, tensors(4, (32, 48)), "turned", range(5), k=2).frame
    expected = brute_force(net, tensors(4, (32, 48)), "turned", 2)
    assert np.array_equal(found[["image", "row", "column"]], expected[:, 2:])
    assert (found["x1"] - found["x0"]).max() == 3
    assert (found["field_x0"] == 2 * found["column"] - 1).all()


class Forgetful(nn.Module):
    """Values go through Python: nobody can follow where they come from."""

    def forward(self, x):
        return x.new_tensor(x.tolist())


def test_where_no_field_is_known_the_patch_is_the_whole_input():
    net = plain(nn.Conv2d(3, 4, 3), Forgetful())
    images = tensors(2, (8, 8))
    found = vizkit.top_patches(vizkit.wrap(net, stages=["0"]), images, "1", [0], k=1)
    assert found.frame[[*BOX, "field_x0"]].to_numpy().tolist() == [[0, 0, 8, 8, 0]]
    assert found.fields["height"].isna().all()


def test_what_opens_a_gate_is_the_whole_photo():
    found = vizkit.top_patches("demo/vovnet19b", vizkit.samples(), "gates", [0], k=1)
    assert found.fields["height"].isna().all()
    assert (found.frame[BOX] == [0, 0, 128, 128]).all(axis=None)


def test_crops_are_what_the_network_saw_and_lie_in_the_photo(demo):
    photos = vizkit.samples()
    found = vizkit.top_patches(demo, photos, ["conv2_1", "stride16"], k=3)
    assert len(found.crops) == len(found.frame) == 2 * 8 * 3
    for row, crop in zip(found.frame.itertuples(), found.crops, strict=True):
        view = demo.transform.view(photos[row.file])
        assert crop.dtype == np.uint8
        # a view would keep the whole photo
        assert crop.flags.owndata
        assert np.array_equal(crop, view[row.y0 : row.y1, row.x0 : row.x1])
        # the same part of the original, resized by Pillow alone
        box = [getattr(row, side) for side in PHOTO]
        again = photos[row.file].resize(crop.shape[1::-1], Image.Resampling.BILINEAR, box)
        assert np.abs(np.asarray(again, dtype=float) - crop).mean() < 12


def test_photos_of_a_real_folder(demo, imagenette):
    photos = sorted((imagenette / "val").rglob("*.JPEG"))[::200]
    found = vizkit.top_patches(demo, photos, "conv3_1", k=2)
    boxes = found.frame[PHOTO].to_numpy()
    sizes = [read(photos[number]).size for number in found.frame["image"]]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= np.array(sizes) + 1e-9).all()
    assert found.frame["file"].tolist() == [photos[n].name for n in found.frame["image"]]


def test_a_white_dot_is_found_where_it_is_in_the_photo():
    photo = Image.new("RGB", (400, 300))
    photo.paste("white", (250, 120, 258, 128))
    net = plain(nn.Conv2d(3, 4, 3, padding=1))
    net[0].weight.data.fill_(1)
    net = vizkit.wrap(net, transform=Transform(size=(96, 128), resize=(120, 120)))
    row = vizkit.top_patches(net, photo, "0", 1).frame.iloc[0]
    assert row["photo_x0"] < 254 < row["photo_x1"]
    assert row["photo_y0"] < 124 < row["photo_y1"]
    assert row["photo_x1"] - row["photo_x0"] == pytest.approx(3 * 300 / 120)


def test_who_transforms_alone_knows_alone_where_the_patch_was():
    net = plain(nn.Conv2d(3, 4, 3))
    own = vizkit.wrap(net, transform=lambda photo: Transform()(photo), stages=["0"])
    found = vizkit.top_patches(own, vizkit.samples()["rocket"], "0", [0]).frame
    assert found[PHOTO].isna().all(axis=None)
    given = vizkit.top_patches(net, tensors(1), "0", [0]).frame
    assert np.array_equal(given[PHOTO], given[BOX])


def test_by_default_the_same_lively_channels_of_twins(demo, folder):
    photos = readable(folder)
    twins = {"with": demo, "without": vizkit.load("demo/vgg11", device="cpu")}
    found = vizkit.top_patches(twins, photos, "conv3_1:act").frame
    score = 0
    for twin in twins.values():
        peaks = vizkit.capture(twin, photos, ["conv3_1:act"])["conv3_1:act"].amax(dim=(-2, -1))
        score = score + peaks.double().mean(dim=0) / peaks.double().mean()
    wanted = score.argsort(descending=True)[:8].tolist()
    for name in twins:
        rows = found[found["model"] == name]
        assert rows["channel"].unique().tolist() == wanted
        assert rows.groupby("channel")["rank"].agg(list).tolist() == [[*range(1, 10)]] * 8
    alone = vizkit.top_patches(demo, photos, "conv3_1:act", wanted[0]).frame
    both = found[(found["model"] == "with") & (found["channel"] == wanted[0])]
    assert both[PLACE].reset_index(drop=True).equals(alone[PLACE])


def test_networks_of_different_widths_share_the_channels_that_both_have(demo):
    models = [demo, "demo/vovnet19b"]
    found = vizkit.top_patches(models, vizkit.samples(), ["stride4", "stride16"], k=1).frame
    for _, rows in found.groupby("layer"):
        channels = [own["channel"].tolist() for _, own in rows.groupby("model")]
        assert channels[0] == channels[1]


def test_files_that_cannot_be_read_are_listed(demo, folder):
    found = vizkit.top_patches(demo, folder, "stride4", [0], k=99)
    assert found.failed["file"].tolist() == [str(folder / "05 broken.jpg")]
    assert "not an image" in found.failed["reason"][0]
    assert len(found.frame) == found.images == 14
    # numbers count all that was given
    names = sorted(path.name for path in folder.iterdir())
    assert found.frame["file"].tolist() == [names[n] for n in found.frame["image"]]
    assert found.frame["image"].max() == 14
    with pytest.raises(InputError, match="none of the 1 images can be read"):
        vizkit.top_patches(demo, folder / "05 broken.jpg", "stride4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [3, 32]}, "conv2_1:conv of demo/vgg11_bn has channels 0 to 31, not 32"),
        ({"channels": -1}, "has channels 0 to 31, not -1"),
        ({"channels": [1.5]}, "has channels 0 to 31, not 1.5"),
        ({"channels": []}, "no channels"),
        ({"k": 0}, "k must be a whole number of at least 1, not 0"),
        ({"k": 2.0}, "k must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"at": "conv9_1"}, "unknown stage, layer or module 'conv9_1'"),
        ({"at": []}, "no taps to read"),
    ],
)
def test_what_cannot_be_used_is_named_before_any_photo_is_read(demo, options, message):
    with pytest.raises(InputError, match=message):
        vizkit.top_patches(demo, vizkit.samples(), **{"at": "conv2_1", **options})


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor, np.array])
def test_one_channel_of_any_kind_of_number(kind):
    net = plain(nn.Conv2d(3, 4, 3))
    found = [
        vizkit.top_patches(net, tensors(2), ["0"], channels=given).frame
        for given in (3, kind(3), [kind(3)], np.array([3]))
    ]
    assert set(found[0]["channel"]) == {3}
    assert all(each.equals(found[0]) for each in found)
    with pytest.raises(InputError, match=r"has channels 0 to 3, not 3\.0"):
        vizkit.top_patches(net, tensors(2), ["0"], channels=3.0)


def test_a_field_that_is_not_known_is_the_whole_input():
    net = plain(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3))
    found = vizkit.top_patches(net, tensors(2), ["0", "2"], [0], k=1)
    assert found.fields["height"].isna().tolist() == [False, True]
    assert found.frame.iloc[-1][BOX].tolist() == [0, 0, 16, 12]


def test_values_that_are_not_finite_are_refused():
    net = plain(nn.Conv2d(3, 4, 3))
    net[0].bias.data[2] = torch.nan
    with pytest.raises(InputError, match="0:conv: channel 2 is NaN or infinite for image 0"):
        vizkit.top_patches(net, tensors(2), "0")
    # a channel that nobody asked for does no harm
    assert len(vizkit.top_patches(net, tensors(2), "0", [1, 0]).frame) == 4


def test_inputs_of_different_sizes_are_refused_whatever_the_batches():
    net = plain(nn.Conv2d(3, 4, 3))
    mixed = [tensors(1, (12, 16)), tensors(1, (16, 12))]
    for size in (1, 2):
        with pytest.raises(InputError, match="must share one s"):
            vizkit.top_patches(net, mixed, "0", batch_size=size)


def test_the_network_is_left_as_it_was(demo, unchanged):
    with unchanged(demo.module):
        vizkit.top_patches(demo, vizkit.samples(), ["conv1_1", "stride8"], k=1)


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch, tmp_path):
    net = vizkit.wrap(plain(nn.Conv2d(3, 4, 3)), transform=Transform((32, 32), (32, 32)))
    for i in range(24):
        Image.new("RGB", (40, 40), (i, i, i)).save(tmp_path / f"{i:02}.png")
    held, update = [], Best.update

    def counted(self, maps, images):
        update(self, maps, images)
        if images[0] not in {2, 22}:
            return
        # by type: asking some objects for their class warns
        alive = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
        photos = [each for each in gc.get_objects() if issubclass(type(each), Image.Image)]
        held.append((sum(each.numel() for each in alive), len(photos)))

    monkeypatch.setattr(Best, "update", counted)
    vizkit.top_patches(net, tmp_path, "0", k=2, batch_size=2)
    assert len(held) == 2
    assert held[1] <= held[0]


def test_how_patches_introduce_themselves(demo):
    found = vizkit.top_patches(demo, vizkit.samples(), "conv1_1", [4, 2], k=1)
    assert repr(found) == (
        "Patches: 2, the greatest in 5 image(s)\n  demo/vgg11_bn, conv1_1:conv: channels 4, 2"
    )
    assert "<table" in found._repr_html_()
    assert found.fields.iloc[0][["height", "width", "input_width"]].tolist() == [3, 3, 128]
