import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40)}


def fill(root, counts, colours):
    """Noisy photos of one colour a class, as files."""
    generator = np.random.default_rng(0)
    for split, count in counts.items():
        for name, colour in colours.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = generator.integers(-40, 40, (44, 40, 3))
                pixels = np.clip(noise + colour, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:02}.jpg")
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("photos"), {"train": 12, "val": 6}, COLOURS)


@pytest.fixture
def some_photos(tmp_path):
    """A folder that a test may change."""
    return fill(tmp_path / "photos", {"train": 6, "val": 3}, COLOURS)
