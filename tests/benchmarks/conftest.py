"""What the tests of benchmarks share: few rounds."""

import pytest

from vizkit.benchmarks import rounds


@pytest.fixture(autouse=True, scope="module")
def _few_rounds(request):
    """One round of each task, however fast: these tests are of no times."""
    if request.module.__name__ == "test_bench_rounds":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "_MOST", 1)
        yield
