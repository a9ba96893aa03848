"""Importing vizkit costs next to nothing and touches no network."""

import subprocess
import sys

import pytest

import vizkit

QUIET = """
import sys
def hook(event, args):
    if event.startswith("socket."):
        raise RuntimeError(f"the network was touched: {event}")
sys.addaudithook(hook)
import vizkit
dir(vizkit)
heavy = {"torch", "timm", "numpy", "pandas", "matplotlib", "captum"} & set(sys.modules)
assert not heavy, heavy
vizkit.predict("demo/vgg11_bn", vizkit.samples()["rocket"])
vizkit.list_models("demo/*")
"""


def test_import_is_light_and_the_main_job_is_offline():
    done = subprocess.run(
        [sys.executable, "-c", QUIET], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there_and_described():
    for name in vizkit.__all__:
        if name != "__version__":
            assert getattr(vizkit, name).__doc__, name
    assert set(vizkit.__all__) <= set(dir(vizkit))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'grad_cam'"):
        _ = vizkit.grad_cam
