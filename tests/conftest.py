"""What several test files share: the bundled network, and a witness that nothing was changed."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vizkit

# what tests start shall count as they do, and not take all cores from each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a shell that starts the tests in the background has what they start ignore Ctrl-C
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks")]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo():
    return vizkit.load("demo/vgg11_bn", device="cpu")


@pytest.fixture(scope="session")
def imagenette():
    """The folder of photos beside the repository; tests that need it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "imagenette"
    if not folder.is_dir():
        pytest.skip(f"no photos at {folder}")
    return folder


@pytest.fixture(scope="module")
def hosts():
    """What a browser may reach, as one of Chromium's flags: nothing but the disk."""
    return "--host-resolver-rules=MAP * ~NOTFOUND"


@pytest.fixture(scope="module")
def browser(hosts):
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    required = os.environ.get("VIZKIT_REQUIRE_BROWSER") == "1"
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        if required:
            raise
        pytest.skip("playwright is not installed")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, hosts])
        except Error as error:
            if required:
                raise
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def exactly():
    """Put a classifier into float64, where no rounding opens a ReLU that is shut elsewhere.

    The gradients of two right ways to compute a trained network in float32 may differ by that,
    and whether they do depends on the processor.
    """
    return _exactly


def _exactly(classifier):
    return vizkit.wrap(
        deepcopy(classifier.module).double(),
        name=classifier.name,
        classes=classifier.classes,
        transform=classifier.transform,
    )


@pytest.fixture
def unchanged():
    """A context manager that fails if a network or a random number generator is not as before."""
    return _unchanged


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    before, values = _state(module)
    try:
        yield
    finally:
        after, values_after = _state(module)
        assert after == before
        for name, value in values.items():
            assert torch.equal(values_after[name], value), name


def _state(module):
    """Everything about a network that a reader could disturb: comparable facts, and tensors."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    gradients = {f"{k}.grad": p.grad for k, p in module.named_parameters() if p.grad is not None}
    facts = {
        "training": [m.training for m in module.modules()],
        "hooks": [[list(getattr(m, name).items()) for name in HOOKS] for m in module.modules()],
        "attributes": [set(vars(m)) for m in module.modules()],
        "tensors": {
            k: (id(t), t.dtype, t.device, t.requires_grad, t.data_ptr()) for k, t in tensors.items()
        },
        "gradients": {k: (id(t), t.data_ptr()) for k, t in gradients.items()},
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch": torch.get_rng_state().tolist(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],  # noqa: NPY002
        "python": random.getstate(),
    }
    return facts, {k: t.detach().clone() for k, t in (tensors | gradients).items()}
