"""Which class a photo is of: folders by name, synset or number, and tables of flat folders."""

import shutil

import pandas as pd
import pytest
from nets import ANIMALS, a_net, photos
from PIL import Image

import vizkit
from vizkit.evaluation import evaluated
from vizkit.labels import folder_indices, labelled
from vizkit.models import imagenet_classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def flat(folder, tmp_path_factory):
    """The same photos as ImageNet's validation photos lie: in one folder, with numbers."""
    root = tmp_path_factory.mktemp("flat")
    rows = []
    for n, path in enumerate(sorted(folder.rglob("*.*")), 1):
        name = f"ILSVRC2012_val_{n:08}.JPEG"
        shutil.copy(path, root / name)
        rows.append((name, path.parent.name))
    return root, pd.DataFrame(rows, columns=["file", "class"])


def same(found, other):
    for name in ("folder", "label", "class", "rank", "own"):
        pd.testing.assert_series_equal(found.predictions[name], other.predictions[name])
    assert len(found.failed) == len(other.failed) == 2


def test_a_table_of_a_flat_folder(folder, flat, tmp_path):
    root, rows = flat
    rows.to_csv(tmp_path / "labels.csv", index=False)
    found = evaluated(a_net(), root, labels=tmp_path / "labels.csv", batch_size=4)
    same(found, evaluated(a_net(), folder, batch_size=4))
    assert found.predictions["image"][0] == "ILSVRC2012_val_00000002.JPEG"


def test_a_table_may_name_photos_that_lie_elsewhere(folder, flat, tmp_path):
    root, rows = flat
    elsewhere = rows.assign(file=[str(root / name) for name in rows["file"]])
    elsewhere.to_csv(tmp_path / "labels.csv", index=False)
    found = evaluated(a_net(), folder, labels=tmp_path / "labels.csv", batch_size=4)
    same(found, evaluated(a_net(), folder, batch_size=4))
    assert found.predictions["image"][0] == str(root / "ILSVRC2012_val_00000002.JPEG")


def test_kaggle_s_table_of_imagenet(folder, flat, tmp_path):
    root, rows = flat
    synsets = ["n02123045", "n02085620", "n02119022", "n01514668", "n01622779", "n02395406",
               "n02342885"]  # fmt: skip
    where = folder_indices(a_net(classes=imagenet_classes()), synsets)
    classes = [imagenet_classes()[where[each]] for each in synsets]
    named = dict(zip(ANIMALS, synsets, strict=True))
    pd.DataFrame({
        "ImageId": rows["file"].str.removesuffix(".JPEG"),
        "PredictionString": [f"{named[each]} 85 1 499 272 {named[each]} 1 2 3 4 "
                             for each in rows["class"]],
    }).to_csv(tmp_path / "LOC_val_solution.csv", index=False)  # fmt: skip
    net = a_net(classes=classes)
    found = evaluated(net, root, labels=tmp_path / "LOC_val_solution.csv", batch_size=4)
    expected = evaluated(a_net(), folder, batch_size=4)
    assert found.predictions["rank"].tolist() == expected.predictions["rank"].tolist()
    assert set(found.predictions["label"]) == set(classes)


def test_files_of_a_table_that_are_not_there_are_listed(flat, tmp_path):
    root, rows = flat
    more = pd.DataFrame([("gone.png", "cat")], columns=rows.columns)
    pd.concat([more, rows]).to_csv(tmp_path / "labels.csv", index=False)
    found = evaluated(a_net(), root, labels=tmp_path / "labels.csv")
    assert found.images == 26
    assert found.failed["file"].tolist()[0] == str(root / "gone.png")
    assert "no such" in found.failed["reason"][0].lower()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.png,cat\n", "has columns file, label, not file, class"),
        ("", "cannot be read"),
        ("file,class\nmissing.png,cat\n", "none of the 1 files in .* such as missing.png"),
        ("file,class\n", "has no rows"),
        ("file,class\n{0},cat\n./{0},dog\n", "more than one row for ILSVRC"),
        ("file,class\n{0},horse\n", "unknown class folder of net 'horse'"),
        ("file,class\n{0},\n", "rows without a file or a class"),
    ],
)
def test_tables_that_cannot_be_used(flat, tmp_path, content, message):
    root, rows = flat
    (tmp_path / "labels.csv").write_text(content.format(rows["file"][0]))
    with pytest.raises(vizkit.InputError, match=message):
        vizkit.evaluate(a_net(), root, labels=tmp_path / "labels.csv")
    with pytest.raises(vizkit.InputError, match="cannot be read"):
        vizkit.evaluate(a_net(), root, labels=tmp_path / "nowhere.csv")


def test_a_flat_folder_without_a_table_says_what_it_needs(flat):
    with pytest.raises(vizkit.InputError, match="give a table of their classes"):
        vizkit.evaluate(a_net(), flat[0])


def numbered(root, numbers):
    for number in numbers:
        (root / str(number)).mkdir(parents=True)
        Image.new("RGB", (30, 30), (number, 60, 90)).save(root / str(number) / "a.png")
    return root


def test_folders_named_by_all_outputs_are_read_as_numbers(tmp_path):
    """As in ImageNet-V2; sorted as text they stand in another order."""
    names = tuple(f"class of {n}" for n in range(12))
    table = vizkit.evaluate(a_net(classes=names), numbered(tmp_path, range(12)), by_class=True)
    found = dict(zip(table["class"], table["name"], strict=True))
    assert found == {str(n): names[n] for n in range(12)}


def test_imagenet_v2_as_it_lies():
    classifier = a_net(classes=imagenet_classes())
    folders = sorted(map(str, range(1000)))
    assert folder_indices(classifier, folders) == {each: int(each) for each in folders}


def test_some_numbers_could_mean_anything_and_are_refused(tmp_path):
    numbered(tmp_path, range(5))
    with pytest.raises(vizkit.InputError, match="only if all from 0 to 6 are there"):
        vizkit.evaluate(a_net(), tmp_path)
    # but not where classes have such names
    digits = a_net(classes=tuple("9876543210"[:7]))
    shutil.rmtree(tmp_path / "0"), shutil.rmtree(tmp_path / "1"), shutil.rmtree(tmp_path / "2")
    assert folder_indices(digits, ["3", "4"]) == {"3": 6, "4": 5}
    assert vizkit.evaluate(digits, tmp_path)["n"][0] == 2


def test_folders_of_other_classes_name_the_choices(folder):
    with pytest.raises(vizkit.InputError, match=r"'cat'.*choose from tench, English springer"):
        vizkit.evaluate("demo/vgg11", folder)
    with pytest.raises(vizkit.InputError, match="unknown choice for among 'folder'; did you mean"):
        vizkit.evaluate(a_net(), folder, among="folder")


def test_photos_are_listed_with_their_class(folder):
    found = labelled(folder)
    assert [path for path, _ in found] == sorted(path for path, _ in found)
    assert {label for _, label in found} == set(ANIMALS)
    assert all(path.parent.name == label for path, label in found)


def test_a_folder_without_a_readable_photo(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"no image")
    with pytest.raises(vizkit.InputError, match="none of the 1 photos can be read"):
        vizkit.evaluate(a_net(), tmp_path)


def test_a_network_may_be_called_after_folders_that_are_synsets():
    folders = ["n01440764", "n02102040"]
    network = a_net(classes=[*folders[::-1], "other"])
    assert folder_indices(network, folders) == {"n01440764": 1, "n02102040": 0}


def test_a_name_of_two_classes_is_refused():
    network = a_net(classes=["crane", "owl", "crane"])
    assert folder_indices(network, ["owl"]) == {"owl": 1}
    with pytest.raises(vizkit.InputError, match="'crane' names more than one class"):
        folder_indices(network, ["owl", "crane"])
