"""How many examples properties are tried on: few by default, and always the same."""

import atexit
import os
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# VIZKIT_EXAMPLES=20 tries twenty times as many, other ones in each run
TIMES = int(os.environ.get("VIZKIT_EXAMPLES", "1"))

# what hypothesis notes for itself stays out of the folder that tests are run in
_HOME = TemporaryDirectory(prefix="hypothesis-")
atexit.register(_HOME.cleanup)
set_hypothesis_home_dir(_HOME.name)

settings.register_profile(
    "vizkit",
    derandomize=TIMES == 1,
    # nothing is stored: what fails prints itself
    database=None,
    # a test that is timed fails on a busy machine
    deadline=None,
    print_blob=False,
    suppress_health_check=[
        # a network takes more draws than most examples
        HealthCheck.too_slow,
        # fixtures here only hand out functions, and hold nothing between examples
        HealthCheck.function_scoped_fixture,
    ],
)


def examples(count: int) -> settings:
    """Try a property on so many examples.

    Parameters
    ----------
    count : int
        Chosen so that the whole folder takes about a minute on one core.

    Returns
    -------
    hypothesis.settings
        A decorator.
    """
    return settings(settings.get_profile("vizkit"), max_examples=count * TIMES)
