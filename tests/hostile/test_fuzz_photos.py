"""However a photo's file is damaged: it is an RGB picture, or an error that names it."""

import pytest
from hypothesis import given
from mutations import Watched, damaged, fuzzed
from PIL import Image
from wrecks import kinds

from vizkit.errors import InputError
from vizkit.images import read

FILES = kinds()
FAMILIES = sorted({name.rpartition(".")[2] for name in FILES})


# what Pillow warns of is no error where nobody makes it one
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_photos(family, tmp_path, monkeypatch):
    # Pillow's own limit, which says how much memory a file may take; lower, so that less is needed
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000_000)
    path = tmp_path / f"damaged.{family}"
    own = [data for name, data in FILES.items() if name.endswith(f".{family}")]

    @fuzzed(150)
    @given(damaged(own))
    def check(data):
        path.write_bytes(data)
        with Watched():
            image, said = outcome(path)
        if image is None:
            assert said.startswith(f"{path}: ")
            assert said.isprintable()
        else:
            assert image.mode == "RGB"
            assert min(image.size) > 0

    check()


def outcome(path):
    """The picture, or what the error says."""
    try:
        return read(path), ""
    except InputError as error:
        return None, str(error)
