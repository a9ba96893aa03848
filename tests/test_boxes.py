"""Boxes: read from a file, and found again in what a network saw."""

import numpy as np
import pytest
import torch
from PIL import Image

import vizkit
from vizkit.attribution.measures import mask_of
from vizkit.boxes import boxes_in_input, boxes_of, read_boxes
from vizkit.errors import InputError
from vizkit.images import as_images, prepare
from vizkit.results import Seen


def seen(*boxes, size=(64, 64), names=None):
    names = names or tuple(f"{n}.png" for n in range(len(boxes)))
    pixels = np.zeros((len(boxes), *size, 3), np.uint8)
    return Seen(names, pixels, boxes, (None,) * len(boxes), "by hand")


def table(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    return path


class TestRead:
    def test_by_file(self, tmp_path):
        path = table(
            tmp_path,
            "y1,file,note,x0,y0,x1\n"
            "40,a.png,big,1,2.5,30\n"
            "9,photos/deep/b.png,,-3,0,7\n"
            "12,a.png,small,10,11,11\n",
        )
        expected = {
            "a.png": [(1, 2.5, 30, 40), (10, 11, 11, 12)],
            "photos/deep/b.png": [(-3, 0, 7, 9)],
        }
        assert read_boxes(path) == expected
        assert read_boxes(str(path)) == expected
        assert vizkit.read_boxes is read_boxes

    def test_names_that_are_numbers(self, tmp_path):
        assert read_boxes(table(tmp_path, "file,x0,y0,x1,y1\n7,0,0,1,1\n")) == {"7": [(0, 0, 1, 1)]}

    def test_no_rows(self, tmp_path):
        assert read_boxes(table(tmp_path, "file,x0,y0,x1,y1\n")) == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "cannot read boxes from .*boxes.csv: an empty file"),
            ('file,x0\n"a', "cannot read boxes from"),
            ("file,x0,y0,x1\na.png,1,2,3\n", "has no column 'y1': it needs file, x0, y0, x1, y1"),
            ("a.png,1,2,3,4\n", "has no column 'file'"),
            ("file,x0,y0,x1,y1\na.png,1,2,1,4\n", r"no box: \(1, 2, 1, 4\), expected x0 < x1"),
            ("file,x0,y0,x1,y1\na.png,1,5,3,4\n", r"boxes.csv: no box: \(1, 5, 3, 4\)"),
            ("file,x0,y0,x1,y1\na.png,1,2,3,\n", r"no box: \(1, 2, 3, nan\)"),
            ("file,x0,y0,x1,y1\na.png,1,2,inf,4\n", r"no box: \(1, 2, inf, 4\)"),
            ("file,x0,y0,x1,y1\na.png,left,2,3,4\n", "boxes.csv: could not convert"),
        ],
    )
    def test_impossible(self, tmp_path, text, message):
        with pytest.raises(InputError, match=message):
            read_boxes(table(tmp_path, text))

    def test_no_file(self, tmp_path):
        with pytest.raises(InputError, match=r"cannot read boxes from .*missing\.csv"):
            read_boxes(tmp_path / "missing.csv")
        with pytest.raises(InputError, match="cannot read boxes from"):
            read_boxes(tmp_path)

    def test_not_a_table(self, tmp_path):
        (tmp_path / "boxes.csv").write_bytes(bytes(range(128, 256)) * 9)
        with pytest.raises(InputError, match="cannot read boxes from"):
            read_boxes(tmp_path / "boxes.csv")


class TestInInput:
    def test_as_they_are_where_the_input_is_the_photo(self):
        boxes = [[(1, 2, 30.5, 40), (0, 0, 64, 64)], [], [(5, 5, 6, 6)]]
        whole = (0, 0, 64, 64)
        assert boxes_in_input(boxes, seen(whole, whole, whole)) == boxes

    def test_by_name(self):
        shown = seen((0, 0, 64, 64), (0, 0, 64, 64), (0, 0, 32, 32), names=("a", "b", "a"))
        boxes = {"a": [(1, 2, 3, 4)], "c": [(0, 0, 1, 1)]}
        assert boxes_in_input(boxes, shown) == [[(1, 2, 3, 4)], [], [(2, 4, 6, 8)]]

    def test_scaled_and_shifted(self):
        # 32 x 16 pixels of the photo from (10, 20) fill 64 x 64 of the input
        shown = seen((10, 20, 42, 36))
        assert boxes_in_input([[(11, 21, 13, 24)]], shown) == [[(2, 4, 6, 16)]]

    def test_cut_off_at_the_border(self):
        shown = seen((10, 20, 42, 36))
        found = boxes_in_input([[(0, 0, 12, 22), (40, 30, 400, 300), (0, 0, 99, 99)]], shown)
        assert found == [[(0, 0, 4, 8), (60, 40, 64, 64), (0, 0, 64, 64)]]

    @pytest.mark.parametrize(
        "box", [(0, 0, 10, 99), (42, 0, 50, 99), (0, 0, 99, 20), (0, 36, 99, 40), (-9, -9, -1, -1)]
    )
    def test_outside(self, box):
        shown = seen((10, 20, 42, 36))
        assert boxes_in_input([[box, (11, 21, 13, 24)]], shown) == [[(2, 4, 6, 16)]]
        assert boxes_in_input([[box]], shown) == [[]]

    def test_inputs_that_reach_beyond_the_photo(self):
        # the photo is 32 x 32 pixels in the middle of the input
        assert boxes_in_input([[(0, 0, 32, 32)]], seen((-16, -16, 48, 48))) == [[(16, 16, 48, 48)]]

    def test_arrays_and_tensors(self):
        boxes = np.array([[[1, 2, 3, 4], [5, 6, 7, 8]]])
        expected = [[(1, 2, 3, 4), (5, 6, 7, 8)]]
        for each in (boxes, boxes.tolist(), list(torch.from_numpy(boxes))):
            assert boxes_in_input(each, seen((0, 0, 64, 64))) == expected

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_one_entry_for_each_image(self, count):
        shown = seen((0, 0, 64, 64), (0, 0, 64, 64))
        with pytest.raises(InputError, match=f"boxes for {count} images, but there are 2"):
            boxes_in_input([[]] * count, shown)

    @pytest.mark.parametrize(
        ("box", "message"),
        [
            ((3, 0, 3, 5), r"no box: \(3, 0, 3, 5\), expected x0 < x1 and y0 < y1"),
            ((0, 5, 3, 4), "no box"),
            ((0, 0, float("nan"), 4), "no box"),
            ((float("-inf"), 0, 3, 4), "no box"),
            ((0, 0, 3), "not enough values"),
            ((0, 0, 3, 4, 5), "too many values"),
            (("a", 0, 3, 4), "could not convert"),
            (5, "boxes are four numbers each"),
            (None, "boxes are four numbers each"),
        ],
    )
    @pytest.mark.parametrize("kind", [list, dict])
    def test_no_box(self, box, message, kind):
        boxes = [[(0, 0, 1, 1), box]] if kind is list else {"0.png": [box]}
        with pytest.raises(InputError, match=message):
            boxes_in_input(boxes, seen((0, 0, 64, 64)))


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        # 160 x 80, the middle 64 x 64 from (48, 8)
        (vizkit.Transform((64, 64), (80, 80), interpolation="nearest"), (16, 8, 40, 40)),
        # 96 x 48, the middle 64 x 64 reaches 8 pixels beyond it above and below
        (vizkit.Transform((64, 64), (48, 48), interpolation="nearest"), (22.4, 17.6, 36.8, 36.8)),
        # 50 x 64 pixels of a photo that is 200 x 100
        (
            vizkit.Transform((50, 64), (50, 64), interpolation="nearest", squash=True),
            (25.6, 10, 35.2, 30),
        ),
        # 160 x 80, the middle 40 x 72 from (44, 20)
        (vizkit.Transform((40, 72), (80, 72), interpolation="nearest"), (20, -4, 44, 28)),
    ],
)
def test_on_the_pixels_that_the_network_sees(transform, expected):
    """What is white in the photo is white in the input, and nothing else."""
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[20:60, 80:110] = 255
    _, shown = prepare(as_images({"photo": Image.fromarray(photo)}), transform)
    ((box,),) = boxes_in_input({"photo": [(80, 20, 110, 60)]}, shown)
    height, width = transform.size
    inside = [
        min(max(side, 0), end) for side, end in zip(expected, (width, height) * 2, strict=True)
    ]
    assert box == pytest.approx(inside)
    mask = mask_of([box], transform.size)
    assert np.array_equal(mask, shown.pixels[0, ..., 0] == 255)
    assert 0 < mask.sum() < mask.size


def test_a_photo_turned_by_its_camera(tmp_path):
    """Boxes are in the pixels of the photo as it is looked at."""
    upright = np.zeros((200, 100, 3), np.uint8)
    upright[150:190, 30:60] = 255
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=exif)
    transform = vizkit.Transform((80, 40), (80, 40), interpolation="nearest")
    _, shown = prepare(as_images(tmp_path / "turned.png"), transform)
    ((box,),) = boxes_in_input({"turned.png": [(30, 150, 60, 190)]}, shown)
    assert np.array_equal(mask_of([box], (80, 40)), shown.pixels[0, ..., 0] == 255)


def test_tensors_have_no_photo():
    _, shown = prepare(as_images(torch.zeros(2, 3, 32, 48)), vizkit.Transform())
    assert boxes_in_input([[(1, 2, 3, 4)], [(40, 0, 60, 9)]], shown) == [
        [(1, 2, 3, 4)],
        [(40, 0, 48, 9)],
    ]


class TestMask:
    def test_pixels_whose_centre_lies_inside(self):
        mask = mask_of([(0.5, 0.6, 2.5, 2.5)], (4, 5))
        expected = np.zeros((4, 5), bool)
        expected[1:2, 0:2] = True
        assert np.array_equal(mask, expected)

    def test_boxes_side_by_side_share_no_pixel(self):
        left, right = mask_of([(0, 0, 1.5, 4)], (4, 5)), mask_of([(1.5, 0, 5, 4)], (4, 5))
        assert not (left & right).any()
        assert (left | right).all()

    def test_union(self):
        boxes = [(0, 0, 2, 2), (1, 1, 4, 3)]
        mask = mask_of(boxes, (4, 5))
        expected = np.zeros((4, 5), bool)
        expected[0:2, 0:2] = expected[1:3, 1:4] = True
        assert np.array_equal(mask, expected)
        assert not mask_of([], (4, 5)).any()


BOXES = {"located/a/0.png": [(0, 0, 1, 1)], "located/b/0.png": [(0, 0, 2, 2)], "c.png": []}


class TestNames:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("located/a/0.png", [(0, 0, 1, 1)]),
            ("b/0.png", [(0, 0, 2, 2)]),
            ("/far/away/located/b/0.png", [(0, 0, 2, 2)]),
            ("folder/c.png", []),
            ("d.png", ()),
            ("x0.png", ()),
        ],
    )
    def test_folders_may_differ_before_the_common_part(self, name, expected):
        assert boxes_of(BOXES, name) == expected

    def test_one_name_of_several_files(self):
        with pytest.raises(InputError, match=r"ambiguous: located/a/0\.png, located/b/0\.png"):
            boxes_of(BOXES, "0.png")

    @pytest.mark.parametrize("boxes", [[1, 2], [None, []]])
    def test_what_is_no_list_of_boxes(self, boxes):
        found = vizkit.attribute("demo/vgg11", torch.rand(2, 3, 32, 32), stages=["stride32"])
        with pytest.raises(InputError, match="boxes of an image must be a list, not"):
            boxes_in_input(boxes, found.seen)
