"""The commands that classify, embed and find neighbours, as a shell runs them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run
from PIL import Image

import vizkit
from vizkit import zoo


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for name, photo in vizkit.samples().items():
        (root / "some").mkdir(parents=True, exist_ok=True)
        photo.save(root / "some" / f"{name}.png")
    (root / "some" / "bad.png").write_text("none")
    return root


def test_predictions_as_tables_of_every_kind(folder, tmp_path):
    expected = None
    for kind, read in (("csv", pd.read_csv), ("json", pd.read_json), ("parquet", pd.read_parquet)):
        file = tmp_path / f"p.{kind}"
        code, out, err = run("predict", folder, "-m", "demo/vgg11", "--synsets", "-o", file)
        assert (code, out.strip()) == (0, str(file))
        assert err.count("bad.png") == 1
        found = read(file)
        expected = found if expected is None else expected
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6)
    assert len(expected) == 25
    assert expected["synset"].str.fullmatch(r"n\d{8}").all()


def test_names_from_standard_input(folder):
    names = [str(folder / "some" / f"{name}.png") for name in ("coffee", "rocket")]
    typed = "\n".join(names) + "\n"
    code, out, _ = run("predict", "-", "-k", 1, "-m", "demo/vgg11", "--json", typed=typed)
    assert code == 0
    assert [each["image"] for each in json.loads(out)] == names
    typed = "\n".join([names[0], "gone.png", names[0]])
    code, out, err = run("predict", "-", "-k", 1, "-m", "demo/vgg11", "--json", typed=typed)
    assert code == 0
    assert [each["image"] for each in json.loads(out)] == [names[0], f"{names[0]} (2)"]
    assert "left out gone.png" in err
    code, _, err = run("predict", "-", typed="\n")
    assert (code, err) == (2, "vizkit: no photos: standard input is empty\n")


def test_embeddings_as_files(folder, tmp_path):
    code, out, err = run("embed", folder, "-m", "demo/vgg11", "-o", tmp_path / "e.npy")
    assert code == 0
    assert "left out" in err
    assert out.split() == [str(tmp_path / "e.npy"), str(tmp_path / "e.csv")]
    vectors, index = np.load(tmp_path / "e.npy"), pd.read_csv(tmp_path / "e.csv")
    assert vectors.shape == (5, 128)
    assert index["class"].tolist() == ["some"] * 5
    run("embed", folder, "-m", "demo/vgg11", "-o", tmp_path / "e.parquet")
    frame = pd.read_parquet(tmp_path / "e.parquet")
    assert frame["image"].tolist() == index["image"].tolist()
    assert np.array_equal(frame.filter(regex=r"f\d+").to_numpy(), vectors)


def test_neighbours_with_a_picture(folder, tmp_path):
    code, out, _ = run(
        "neighbours", folder, "-k", 2, "--picture", tmp_path / "n.png", "-o", tmp_path / "n.csv",
        "-m", "demo/vgg11,demo/vovnet19b", "--rows", 3,
    )  # fmt: skip
    assert code == 0
    assert out.split() == [str(tmp_path / "n.csv")]
    assert len(pd.read_csv(tmp_path / "n.csv")) == 2 * 5 * 2
    with Image.open(tmp_path / "n.png") as picture:
        assert picture.width > picture.height


def test_the_size_at_which_a_model_was_tested(folder):
    photo = folder / "some" / "coffee.png"
    words = ("predict", photo, "-m", "ese_vovnet19b_dw", "-w", "none", "--json", "-k", 1)
    assert run(*words)[0] == run(*words, "--test-size")[0] == 0
    code, _, err = run("predict", photo, "--test-size")
    assert code == 2
    assert "no other test size is known of 'vgg16_bn'" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "here", "-o", "p.xls"), "unknown kind of table '.xls'; choose from .csv"),
        (("embed", "here", "-o", "e"), "unknown kind of table 'e'"),
        (("embed", "here", "-o", "nowhere/e.npy"), "no such folder: nowhere"),
        (("predict", "nothing.png"), "no such image: nothing.png"),
        (("neighbours", "here", "--picture", "n.gif"), "unknown figure format 'gif'"),
        (("predict", "here", "-k", "0"), "k must be a whole number of at least 1, not 0"),
        (("predict", "here", "--batch-size", "0"), "batch_size must be a whole number"),
        (("predict", "here", "-m", ""), "no models: the list is empty"),
        (("predict", "here", "-m", "vgg16.bogus"), "unknown pretrained weights 'vgg16.bogus'"),
    ],
)
def test_bad_input_is_one_line(folder, words, said):
    code, out, err = run(*(folder if word == "here" else word for word in words))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_names_of_classes_from_a_file_or_a_list(folder, tmp_path):
    torch.manual_seed(0)
    torch.save(zoo.build("vgg11", 2).state_dict(), tmp_path / "two.pth")
    (tmp_path / "names.txt").write_text("cat, black\n\nowl\n")
    photo = folder / "some" / "coffee.png"
    words = ("predict", photo, "-m", "demo/vgg11", "-w", tmp_path / "two.pth", "--json")
    for names, expected in ((tmp_path / "names.txt", {"cat, black", "owl"}), ("a,b", {"a", "b"})):
        code, out, _ = run(*words, "--classes", names)
        assert code == 0
        assert {each["class"] for each in json.loads(out)} == expected
    code, _, err = run(*words)
    assert code == 2
    assert "The file has 2 classes, the network 10: give the 2 names as classes" in err
