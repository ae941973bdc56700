"""What every test starts from: no network, no display, few threads. Markers and warning filters: pyproject.toml."""

import os

import pytest

# Before any test imports a library that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The products of tiny models are too small to share: more threads wait for each other. Subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def server():
    """A Hub on localhost, empty."""
    from hub_server import HubServer  # only here: most tests need no server

    server = HubServer()
    yield server
    server.shutdown()
    server.server_close()
