"""Loopback phones, an adb server of our own, and programs to run there."""

import importlib.util
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest

from android_bench import adb
from android_bench.benchmark import Options
from android_bench.benchmark import Tool
from android_bench.campaign import Settings
from android_bench.device import Gates
from tests.adb_device.phone import Phone
from tflite_bench import build
from tflite_bench import writer

ROOT = pathlib.Path(__file__).parents[2]
STUB = ROOT / "tests" / "adb_device" / "benchmark_model"
NATIVE = ROOT / "android_bench" / "native"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory):
    """A private adb server, with keys and a temporary folder of its own.

    It ends with its file of tests: the next file of the same process may
    need a temporary folder that other users can reach.
    """
    if not shutil.which("adb"):
        pytest.skip("needs the program adb (Debian: apt-get install adb)")
    home = tmp_path_factory.mktemp("adb_home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("TMPDIR", str(home))  # of programs that tests start
        patch.setattr(tempfile, "tempdir", str(home))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(_free_port()))
        # A phone that comes back is connected by us, not found by scanning.
        patch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5553")
        try:
            yield
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True)


@pytest.fixture
def make_phone(adb_server, tmp_path):
    """Makes loopback phones that end with the test."""
    phones = []

    def make(name="Loopback 1", path=()):
        root = tmp_path / f"phone{len(phones)}"
        phone = Phone(root, name, path).__enter__()
        phones.append(phone)
        return phone

    yield make
    for phone in phones:
        subprocess.run(
            ["adb", "disconnect", phone.serial], capture_output=True
        )
        phone.__exit__()


@pytest.fixture
def phone(make_phone):
    """One phone, attached."""
    phone = make_phone()
    adb.find(phone.serial)
    return phone


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """A folder with our runner, built for this machine, and its library."""
    missing = [x for x in ("cmake", "cc") if not shutil.which(x)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} to build the runner")
    return build_runner(tmp_path_factory.mktemp("native"))


def build_runner(folder, *options, library=None):
    """Builds the runner with CMake; returns the folder it is in."""
    for command in (
        ["cmake", "-S", str(NATIVE), "-B", str(folder), *options],
        ["cmake", "--build", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    os.symlink(library or litert_library(), folder / "libLiteRt.so")
    return folder


def litert_library():
    """Returns the path of this machine's LiteRT library."""
    spec = importlib.util.find_spec("ai_edge_litert")
    return pathlib.Path(spec.origin).with_name("libLiteRt.so")


@pytest.fixture
def fast_adb(phone):
    """The phone with little patience."""
    return adb.Adb(phone.serial, timeout_s=20, patience_s=20)


@pytest.fixture
def tool():
    """The stand-in for `benchmark_model`."""
    return Tool(STUB, Options(num_runs=5, warmup_runs=1), timeout_s=20)


@pytest.fixture
def settings():
    """Settings for a phone that is a busy machine."""
    return Settings(Gates(wait_s=5, poll_s=0.1), max_slowdown=100.0)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Two small models of unlike cost, and a third."""
    folder = tmp_path_factory.mktemp("models")
    keys = {
        "small": "conv|act=relu6|k=3|pad=sym|s=1|8x8x8>8x8x8",
        "large": "conv|act=relu6|k=3|pad=sym|s=1|32x32x64>32x32x64",
        "third": build.REFERENCE,
    }
    paths = []
    for name, key in keys.items():
        path = folder / f"{name}.tflite"
        path.write_bytes(writer.write_key(key, "int8"))
        paths.append(str(path))
    return paths
