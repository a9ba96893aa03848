"""From any kind of image to what a network sees, and back to the original photo."""

from vizkit.images.accepting import as_images
from vizkit.images.decoding import BACKGROUND, eight_bit, read, to_rgb
from vizkit.images.folders import EXTENSIONS, photos_in
from vizkit.images.photos import Images, Photo, readable, samples
from vizkit.images.preparing import prepare, transformed
from vizkit.images.transform import Transform

__all__ = [
    "BACKGROUND",
    "EXTENSIONS",
    "Images",
    "Photo",
    "Transform",
    "as_images",
    "eight_bit",
    "photos_in",
    "prepare",
    "read",
    "readable",
    "samples",
    "to_rgb",
    "transformed",
]
