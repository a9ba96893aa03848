"""What a browser may reach in these tests."""

import pytest


@pytest.fixture(scope="module")
def hosts():
    """This machine, too: pages are also served."""
    return "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
