"""Fixtures of all tests.

A test module that needs TensorFlow imports it, or something that does, at
module level: only then are the two logical CPU devices there in time.
"""

import os
import pathlib
import random
import signal
import sys

import numpy as np
import pytest

from tests import collector
from tests import programs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # as the programs do

ROOT = pathlib.Path(__file__).parents[1]

# In a script's background, or under nohup, these are ignored, and programs
# that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish(session):
    """Splits the CPU into two logical devices, for the mirrored tests.

    TensorFlow allows it only before its first computation, and test modules
    that do without TensorFlow should not wait for its import.
    """
    collector.spare()
    if "tensorflow" not in sys.modules:
        return
    config = sys.modules["tensorflow"].config
    (cpu,) = config.list_physical_devices("CPU")
    config.set_logical_device_configuration(
        cpu, [config.LogicalDeviceConfiguration()] * 2
    )


@pytest.fixture(autouse=True)
def seeds():
    """Starts every test from the same random state."""
    random.seed(0)
    np.random.seed(0)
    if "keras" in sys.modules:  # sets all of them
        sys.modules["keras"].utils.set_random_seed(0)
    elif "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Returns `f(name, *args, folder)` to exit code, output and errors."""
    server = programs.Server(tmp_path_factory.mktemp("programs"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared_data():
    """The folder of development data beside the repository."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the development data in ../shared/data")
    return path
