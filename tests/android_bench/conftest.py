"""Phones, an adb server of our own, and programs to run there."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from android_bench import adb
from android_bench.benchmark import Tool
from android_bench.campaign import Settings
from android_bench.device import Gates
from android_bench.options import Options
from tests.adb_device import daemon
from tests.adb_device.daemon import DaemonPhone
from tests.adb_device.phone import LoopbackPhone
from tflite_bench import build
from tflite_bench import writer

ROOT = pathlib.Path(__file__).parents[2]
STUB = ROOT / "tests" / "adb_device" / "benchmark_model"
NATIVE = ROOT / "android_bench" / "native"


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory):
    """A private adb server, with keys and a temporary folder of its own.

    It listens where this user alone can reach it. It ends with its file of
    tests: the next file of the same process may need a temporary folder that
    other users can reach.
    """
    if not shutil.which("adb"):
        pytest.skip("needs the program adb (Debian: apt-get install adb)")
    home = tmp_path_factory.mktemp("adb_home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("TMPDIR", str(home))  # of programs that tests start
        patch.setattr(tempfile, "tempdir", str(home))
        patch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{home}/server")
        # A phone that comes back is connected by us, not found by scanning.
        patch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5553")
        try:
            yield
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True)


@pytest.fixture
def make_phone(adb_server, tmp_path):
    """Makes phones that end with the test: `make(name, path, kind)`."""
    phones = []

    def make(name="Loopback 1", path=(), kind=LoopbackPhone):
        if kind is DaemonPhone:
            need_daemon()
        root = tmp_path / f"phone{len(phones)}"
        phone = kind(root, name, path).__enter__()
        phones.append(phone)
        return phone

    yield make
    for phone in phones:
        subprocess.run(
            ["adb", "disconnect", phone.serial], capture_output=True
        )
        phone.__exit__()


def need_daemon():
    """Skips a test of the real adbd where there can be none.

    Where somebody has said where it is, as `.ci/run` does, that is a failure.
    """
    if reason := daemon.missing():
        stop = pytest.fail if daemon.FOLDER in os.environ else pytest.skip
        stop(reason)


def _attach(phone):
    adb.find(phone.serial)
    return phone


@pytest.fixture
def phone(make_phone):
    """One phone, attached."""
    return _attach(make_phone())


@pytest.fixture
def daemon_phone(make_phone):
    """A phone with the real adbd, attached."""
    return _attach(make_phone(kind=DaemonPhone))


@pytest.fixture(
    params=[LoopbackPhone, DaemonPhone], ids=["loopback", "daemon"]
)
def any_phone(make_phone, request):
    """A phone of either kind, attached."""
    return _attach(make_phone(kind=request.param))


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
def any_adb(any_phone):
    """A phone of either kind, with little patience."""
    return adb.Adb(any_phone.serial, timeout_s=20, patience_s=20)


@pytest.fixture
def tool():
    """The stand-in for `benchmark_model`."""
    return Tool(STUB, Options(num_runs=5, warmup_runs=1), timeout_s=20)


@pytest.fixture
def litert_stub(tmp_path):
    """The stand-in as LiteRT 2's program."""
    path = tmp_path / "benchmark_litert_model"
    text = STUB.read_text().replace(
        'PROGRAM = "tflite"', 'PROGRAM = "litert"'
    )
    path.write_text(text)
    return path


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
