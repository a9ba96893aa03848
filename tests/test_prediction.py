"""Predictions and embeddings, against plain torch and timm."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
from torch import nn

import vizkit
from vizkit.errors import InputError, UnreadableWarning, VizkitError
from vizkit.images import as_images
from vizkit.models import as_classifiers
from vizkit.prediction import embed, embeddings, neighbours, predict, predictions


@pytest.fixture(scope="module")
def vgg():
    """Full size: its embedding is 4096 wide."""
    torch.manual_seed(0)
    return timm.create_model("vgg11").eval()


@pytest.fixture(scope="module")
def vovnet():
    torch.manual_seed(0)
    return timm.create_model("ese_vovnet19b_dw").eval()


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


class Head(nn.Module):
    """A network of one convolution and a head of its own."""

    def __init__(self, head, forward=None):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), head
        self.own = forward

    def forward(self, x):
        x = self.conv(x)
        return self.own(self, x) if self.own else self.head(x.mean(dim=(-2, -1)))


class TestPredict:
    def test_against_softmax(self, demo):
        photos = vizkit.samples()
        frame = predict(demo, photos, k=3)
        assert list(frame.columns) == ["image", "rank", "class", "index", "probability", "logit"]
        with torch.no_grad():
            inputs = torch.stack([demo.transform(photo) for photo in photos.values()])
            logits = demo.module(inputs)
        for n, name in enumerate(photos):
            rows = frame[frame["image"] == name]
            order = logits[n].argsort(descending=True)[:3]
            assert rows["rank"].tolist() == [1, 2, 3]
            assert rows["index"].tolist() == order.tolist()
            assert rows["class"].tolist() == [demo.classes[i] for i in order]
            exponentials = logits[n].double().exp()
            expected = (exponentials / exponentials.sum())[order]
            assert rows["probability"].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
            assert rows["logit"].tolist() == pytest.approx(logits[n][order].tolist(), rel=1e-5)

    def test_more_images_than_a_batch(self, demo):
        inputs = torch.randn(18, 3, 64, 64)
        frame = predict(demo, inputs, k=1)
        with torch.no_grad():
            expected = demo.module(inputs).argmax(dim=1)
        assert frame["index"].tolist() == expected.tolist()
        assert frame["image"].is_unique
        assert frame.index.tolist() == list(range(18))

    def test_all_classes_where_there_are_fewer(self, demo):
        frame = predict(demo, torch.randn(3, 64, 64), k=50)
        assert len(frame) == 10
        assert frame["probability"].sum() == pytest.approx(1)

    def test_classes_without_names(self):
        frame = predict(Head(nn.Linear(4, 3)), torch.randn(3, 16, 16), k=1)
        assert frame["class"].tolist() == [f"class {frame['index'][0]}"]

    @pytest.mark.parametrize("k", [0, -1])
    def test_impossible_k(self, demo, k):
        with pytest.raises(InputError, match=f"at least 1, not {k}"):
            predict(demo, torch.randn(3, 64, 64), k=k)

    def test_half_precision(self):
        net = Head(nn.Linear(4, 300)).bfloat16()
        frame = predict(net, torch.randn(3, 16, 16), k=300)
        assert frame["probability"].sum() == pytest.approx(1, abs=1e-4)

    def test_the_network_is_left_as_it_was(self, unchanged):
        net = Head(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3))).train()
        inputs = torch.randn(2, 3, 16, 16)
        with unchanged(net):
            predict(net, inputs)
            embed(net, inputs)
            embed(net, inputs, pool=False)


class TestEmbed:
    def test_vgg(self, vgg, inputs):
        with torch.no_grad():
            maps = vgg.forward_features(inputs)
            expected = vgg.forward_head(maps, pre_logits=True)
        assert torch.equal(embed(vgg, inputs), expected)
        assert expected.shape == (2, 4096)
        assert torch.equal(embed(vgg, inputs, pool=False), maps)
        assert maps.shape == (2, 512, 7, 7)

    def test_vovnet(self, vovnet, inputs):
        with torch.no_grad():
            maps = vovnet.forward_features(inputs)
            expected = vovnet.forward_head(maps, pre_logits=True)
        assert torch.equal(embed(vovnet, inputs), expected)
        assert expected.shape == (2, 1024)
        assert torch.equal(embed(vovnet, inputs, pool=False), maps)
        assert maps.shape == (2, 1024, 7, 7)

    @pytest.mark.parametrize("name", ["resnet18", "densenet121", "convnext_tiny"])
    def test_other_timm_networks(self, name):
        net = timm.create_model(name).eval()
        inputs = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            expected = net.forward_head(net.forward_features(inputs), pre_logits=True)
        assert torch.equal(embed(net, inputs), expected)

    def test_torchvision(self):
        net = torchvision.models.mobilenet_v2().eval()
        inputs = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            expected = net.features(inputs).mean(dim=(-2, -1))
        torch.testing.assert_close(embed(net, inputs), expected)
        # the last layer is a convolution
        net = torchvision.models.squeezenet1_1().eval()
        with torch.no_grad():
            expected = net.features(inputs).mean(dim=(-2, -1))
        torch.testing.assert_close(embed(net, inputs), expected)

    def test_more_images_than_a_batch(self, demo):
        inputs = torch.randn(18, 3, 64, 64)
        together = embed(demo, inputs)
        assert together.shape == (18, 128)
        alone = torch.cat([embed(demo, each) for each in inputs])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)

    def test_code_that_works_in_place_before_the_head(self):
        def in_place(net, x):
            x = x.mean(dim=(-2, -1))
            x += 1
            return net.head(x).mul_(2)

        net = Head(nn.Linear(4, 3), in_place)
        inputs = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            expected = net.conv(inputs).mean(dim=(-2, -1)) + 1
        assert torch.equal(embed(net, inputs), expected)

    def test_code_that_overwrites_the_embedding(self):
        def overwriting(net, x):
            x = x.mean(dim=(-2, -1))
            y = net.head(x)
            x.zero_()
            return y

        with pytest.raises(VizkitError, match="overwrites the input of its last layer"):
            embed(Head(nn.Linear(4, 3), overwriting), torch.randn(1, 3, 16, 16))

    def test_code_that_changes_its_input(self):
        class Changing(Head):
            def forward(self, x):
                return super().forward(x.sub_(1))

        net, inputs = Changing(nn.Linear(4, 3)), torch.randn(1, 3, 16, 16)
        before = inputs.clone()
        first = embed(net, inputs)
        assert torch.equal(inputs, before)
        assert torch.equal(embed(net, inputs), first)
        with torch.inference_mode():
            assert torch.equal(embed(net, inputs), first)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_inside_other_modes(self, demo, mode):
        inputs = torch.randn(1, 3, 64, 64)
        with mode():
            found = embed(demo, inputs)
        assert torch.equal(found, embed(demo, inputs))
        assert not found.requires_grad

    def test_a_network_without_layers(self):
        class Pooling(nn.Module):
            def __init__(self):
                super().__init__()
                self.pool = nn.MaxPool2d(2)

            def forward(self, x):
                return self.pool(x).mean(dim=(-2, -1))

        with pytest.raises(VizkitError, match="no linear layer or convolution"):
            embed(Pooling(), torch.randn(1, 3, 16, 16))


@pytest.fixture
def folder(tmp_path):
    """Two class folders, four photos, and a file that is none."""
    names = ("cat/a", "cat/b", "dog/a", "dog/b")
    for name, photo in zip(names, vizkit.samples().values(), strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo.save(tmp_path / f"{name}.png")
    (tmp_path / "cat" / "aa.png").write_text("none")
    return tmp_path


class TestFolders:
    def test_a_file_that_cannot_be_read_shifts_nothing(self, demo, folder):
        with pytest.warns(UnreadableWarning, match=r"left out .*aa\.png"):
            frame = predict(demo, folder, k=1)
        (folder / "cat" / "aa.png").unlink()
        alone = [predict(demo, folder / name, k=1) for name in frame["image"]]
        assert frame["image"].tolist() == ["cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"]
        assert frame["index"].tolist() == [each["index"][0] for each in alone]
        expected = [each["logit"][0] for each in alone]
        assert frame["logit"].tolist() == pytest.approx(expected, rel=1e-5)

    def test_only_files_that_cannot_be_read(self, demo, folder):
        for call in (predict, embed, embeddings):
            with pytest.raises(InputError, match=r"aa\.png: not an image"):
                call(demo, folder / "cat" / "aa.png")

    def test_several_networks_read_each_file_once(self, demo, folder):
        (folder / "cat" / "aa.png").unlink()
        models = as_classifiers([demo, "demo/vovnet19b"])
        frame, failed = predictions(models, as_images(folder), 2, batch_size=3)
        assert not failed
        for model in models:
            own = frame[frame["model"] == model.name].drop(columns="model")
            alone = predict(model, folder, 2)
            pd.testing.assert_frame_equal(own.reset_index(drop=True), alone, rtol=1e-5)

    def test_synsets_of_imagenet_s_classes(self, demo):
        frame = predict(demo, vizkit.samples(), synsets=True)
        known = dict(zip(frame["class"], frame["synset"], strict=True))
        assert known["tench"] == "n01440764"
        assert known["parachute"] == "n03888257"
        other = predict(Head(nn.Linear(4, 3)), torch.randn(3, 16, 16), synsets=True)
        assert set(other["synset"]) == {""}

    def test_embeddings_keep_names_and_classes(self, demo, folder):
        with pytest.warns(UnreadableWarning):
            found = embeddings(demo, folder)
        assert found.names == ("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png")
        assert found.labels == ("cat", "cat", "dog", "dog")
        assert len(found.failed) == 1
        for name, vector in zip(found.names, found.vectors, strict=True):
            torch.testing.assert_close(vector, embed(demo, folder / name)[0], rtol=1e-5, atol=1e-5)
        frame = found.to_frame()
        assert frame.shape == (4, 130)
        assert frame["f3"].tolist() == found.vectors[:, 3].tolist()
        assert repr(found) == "Embeddings(demo/vgg11_bn: 4 images, 128 dimensions)"


class TestNeighbours:
    def test_against_every_pair_in_numpy(self, demo):
        inputs = torch.randn(9, 3, 64, 64)
        vectors = embed(demo, inputs).double().numpy()
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        expected = vectors @ vectors.T
        np.fill_diagonal(expected, -np.inf)
        frame = neighbours(demo, inputs, k=3)
        for n in range(9):
            rows = frame[frame["query"] == f"image {n + 1}"]
            order = expected[n].argsort()[::-1][:3]
            assert rows["image"].tolist() == [f"image {i + 1}" for i in order]
            assert rows["similarity"].tolist() == pytest.approx(expected[n][order], abs=1e-5)

    def test_more_queries_than_a_chunk(self, demo, monkeypatch):
        inputs = torch.randn(7, 3, 64, 64)
        whole = neighbours(demo, inputs, k=9)
        assert len(whole) == 7 * 6
        monkeypatch.setattr("vizkit.prediction.nearest._CHUNK", 3)
        pd.testing.assert_frame_equal(neighbours(demo, inputs, k=9), whole)

    def test_queries_of_their_own_and_classes(self, demo, folder):
        (folder / "cat" / "aa.png").unlink()
        frame = neighbours([demo, "demo/vgg11"], folder, {"mine": folder / "dog" / "b.png"}, k=1)
        assert frame["image"].tolist() == ["dog/b.png"] * 2
        assert frame["similarity"].tolist() == pytest.approx([1, 1])
        assert frame["query"].tolist() == ["mine"] * 2
        assert "class" not in frame.columns
        own = neighbours(demo, folder, k=3)
        assert (own["class"] == own["image"].str.partition("/")[0]).all()
        assert (own["query_class"] == own["query"].str.partition("/")[0]).all()

    def test_what_cannot_be_asked(self, demo):
        with pytest.raises(InputError, match="one image has no neighbours"):
            neighbours(demo, torch.randn(1, 3, 64, 64))
        with pytest.raises(InputError, match="k must be a whole number of at least 1, not 0"):
            neighbours(demo, torch.randn(2, 3, 64, 64), k=0)

    def test_photos_of_one_name_are_kept_apart(self, demo, tmp_path):
        samples = vizkit.samples()
        files = [tmp_path / place / "x.png" for place in ("a", "b")]
        for file, photo in zip(files, samples.values(), strict=False):
            file.parent.mkdir()
            photo.save(file)
        names = [str(file) for file in files]
        assert neighbours(demo, files, k=1)["image"].tolist() == names[::-1]
        assert predict(demo, files, k=1)["image"].tolist() == names
        assert embeddings(demo, files).labels is None
        both = as_images([tmp_path, tmp_path])
        assert [each.name for each in both] == [
            "a/x.png", "b/x.png", "a/x.png (2)", "b/x.png (2)"
        ]  # fmt: skip
        assert embeddings(demo, both).labels == ("a", "b", "a", "b")

    def test_one_image_that_can_be_read_has_no_neighbours(self, demo, folder):
        files = [folder / "cat" / "a.png", folder / "cat" / "aa.png"]
        with (
            pytest.warns(UnreadableWarning),
            pytest.raises(InputError, match="only one image can be read"),
        ):
            neighbours(demo, files)

    def test_what_is_no_number_is_refused(self):
        net = Head(nn.Linear(4, 3))
        net.head.bias.data[1] = torch.nan
        with pytest.raises(InputError, match="Head gives NaN or infinity"):
            predict(net, torch.randn(3, 16, 16))
        net.conv.bias.data[1] = torch.inf
        with pytest.raises(InputError, match="Head gives NaN or infinity"):
            neighbours(net, torch.randn(2, 3, 16, 16))
