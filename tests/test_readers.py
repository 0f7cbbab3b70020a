"""Readers of files from elsewhere: the value, or one of our own errors.

Hypothesis makes the files: from nothing, and from good ones in which it
changes some bytes or some values.
"""

import contextlib
import dataclasses
import io
import json
import resource
import time
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from tests.cost.lut_tables import make_table
from tests.tiny_runs import SPEC
from tflite_bench.journal import Journal
from tfnas import artifacts
from tfnas import labels
from tfnas import spaces
from tfnas.applications import checkpoints
from tfnas.applications import weights
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.cost import positional
from tfnas.cost.lattice import LatticeCosts
from tfnas.cost.lut import LatencyTable
from tfnas.cost.lut_fields import Calibration
from tfnas.cost.lut_fields import MeasuredNet
from tfnas.cost.predictor import AccuracyPredictor
from tfnas.cost.predictor import Quality
from tfnas.data import records
from tfnas.data.fields import Settings
from tfnas.data.split_list import SplitList
from tfnas.data.text import Vocabulary
from tfnas.errors import TfnasError
from tfnas.report import workdir
from tfnas.search.base import Found
from tfnas.search.base import SearchResult
from tfnas.spaces import autospace_files
from tfnas.spaces.dense import DenseSpace
from tfnas.train import checkpoint

QUICK, MANY = 40, 100_000
CAP_S = 600.0  # of a reader, in `make test-slow`
MEMORY_KIB = 1 << 20
IMAGES = Settings("tfrecord:x")
DENSE = DenseSpace("fuzzed", SPEC, 10, None)
ARCH = Arch(
    (
        Block("conv", 3, 4, 2, attrs={"k": 3, "act": "relu6", "pad": "sym"}),
        Block("classifier", 4, 10),
    ),
    (8, 8, 3), 10,
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, and a good file of it.

    Args:
        name: Name of the file.
        write: Writes a good one.
        read: Reads one.
        is_json: Whether values in it can be changed, too.
    """

    name: str
    write: Callable
    read: Callable
    is_json: bool = True


def _result(path):
    found = Found(DENSE.sample(0), 1.5, 0.5)
    history = [{"epoch": 0, "loss": 1.0, "cost": 2.0}]
    header = {"algorithm": "a", "space": "s", "seed": 0, "unit": "ms",
              "target": None, "inputs": {}, "versions": {"numpy": "2"}}
    SearchResult(header, [found], [found], history).save(path)


def _table(path):
    net = MeasuredNet(ARCH, 1.0, 0.01, 25)
    fit = Calibration(1.1, 0.0, 1.0, "s", 3)
    make_table(
        ["relu|8x8x4>8x8x4"], networks=(net,), calibration=fit
    ).save(path)


def _journal(path):
    Journal(path, {"unit": "ms"}).append({"readings": {"a": {"ms": [1.0]}}})


def _checkpoint(path):
    artifacts.write_json(path, {"units": 1})
    path.with_name("variables.index").write_bytes(b"variables")
    files = {
        p.name: artifacts.sha256(p)
        for p in path.parent.iterdir()
        if p.name != "manifest.json"
    }
    artifacts.write_json(
        path.with_name("manifest.json"),
        {"format": checkpoint.FORMAT, "files": files, "epoch": 1}, sealed=True,
    )


def _predictor(path):
    arrays = {f"weight{i}": np.ones(2) for i in range(6)}
    artifacts.write_npz(path.with_suffix(".npz"), **arrays)
    artifacts.write_json(
        path,
        {"format": "tfnas-predictor/1", "space": "s", "sizes": [2, 3],
         "quality": dataclasses.asdict(Quality(9, 5, 0.1, 0.9)),
         "weights": path.stem + ".npz",
         "weights_sha256": artifacts.sha256(path.with_suffix(".npz"))},
    )


def _npz(path):
    artifacts.write_npz(path, a=np.arange(6.0), b=np.array("text"))


def _weights(path):
    weights.write(path, ARCH, {"0/conv/kernel": np.ones(3, np.float32)})


def _tfrecord(path):
    image = io.BytesIO()
    Image.new("RGB", (2, 2)).save(image, "PNG")
    for part in ("train", "val"):
        features = {
            records.IMAGE: tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[image.getvalue()])
            ),
            records.LABEL: tf.train.Feature(
                int64_list=tf.train.Int64List(value=[3])
            ),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        beside = path.with_name(f"{part}-0.tfrecord")
        with tf.io.TFRecordWriter(str(beside)) as writer:
            writer.write(example.SerializeToString())


def _shipped(name):
    content = artifacts.read_text(f"tfnas/spaces/data/{name}.json")
    return lambda path: path.write_text(content)


READERS = [
    Reader("plain.json", lambda p: artifacts.write_json(p, {"a": [1, {}]}),
           artifacts.read_json),
    Reader("sealed.json",
           lambda p: artifacts.write_json(p, {"a": [1.5]}, sealed=True),
           lambda p: artifacts.read_json(p, sealed=True)),
    Reader("log.jsonl", lambda p: artifacts.append_jsonl(p, {"a": 1}, True),
           artifacts.read_jsonl),
    Reader("arrays.npz", _npz, artifacts.read_npz, False),
    Reader("arch.json", ARCH.save, Arch.load),
    Reader("table.json", _table, LatencyTable.load),
    Reader("result.json", _result, SearchResult.load),
    Reader("result.json", _result, lambda p: workdir.read(p.parent)),
    Reader("table.json.journal.jsonl", _journal,
           lambda p: Journal(p, {"unit": "ms"})),
    Reader("manifest.json", lambda p: _checkpoint(p.with_name("state.json")),
           lambda p: checkpoint.check_files(p.parent)),
    Reader("tensors.safetensors",
           lambda p: safetensors.numpy.save_file({"a": np.ones(4)}, p),
           checkpoints.read, False),
    Reader("weights.npz", _weights, weights.read, False),
    Reader("predictor.json", _predictor, AccuracyPredictor.load),
    Reader("list.txt",
           lambda p: positional.save(DENSE, LatticeCosts.from_madds(DENSE), p),
           lambda p: positional.load(DENSE, p), False),
    Reader("split.json",
           lambda p: SplitList("d", ("a",), 0.5, 0, ("x",), ("y",)).save(p),
           SplitList.load),
    Reader("words.json", Vocabulary(("a", "b", "<eos>")).save,
           Vocabulary.load),
    Reader("labels.txt", lambda p: p.write_text("cat\ndog\n"),
           labels.read_labels, False),
    Reader("net.json", _shipped("autospace_net_340m"),
           autospace_files.read_net),
    Reader("space.json", _shipped("autospace_space_32"),
           lambda p: autospace_files.read_space(
               p, spaces.get("autospace@32").spec.places)),
    Reader("train-0.tfrecord", _tfrecord,
           lambda p: records.tfrecord(f"{p.parent}/*.tfrecord", IMAGES),
           False),
]

# All of Unicode would take ten seconds to look up.
_TEXT = st.text("ab0. \x1b\u202e\xe9\ud800\"\\", max_size=6)
_JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3),
    st.sampled_from([10**400, -(10**20), 1e308, 5e-324, 1 << 63]),
    st.floats(), _TEXT,
    st.sampled_from(["\x1b[31m", "../x", "\ud800", "epoch-00001"]),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(_TEXT, st.integers(), max_size=2),
)


@st.composite
def damaged_bytes(draw, good):
    """A good file of which some bytes are others, gone, or there twice."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["put", "cut", "drop", "twice", "insert"]))
        if kind == "put" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 9))]
        elif kind == "twice":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        else:
            data[at:at] = draw(st.binary(max_size=6))
    return bytes(data)


@st.composite
def damaged_json(draw, good):
    """A good file in which some values are others, sealed anew or not."""
    value = json.loads(good.splitlines()[-1] if b"}\n{" in good else good)
    for _ in range(draw(st.integers(1, 2))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not len(keys):
                break
            key = draw(st.sampled_from(keys))
            deeper = isinstance(place[key], (dict, list)) and place[key]
            if deeper and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(_JUNK)
            break
    if artifacts.SEAL in value and draw(st.booleans()):
        with contextlib.suppress(ValueError):
            value[artifacts.SEAL] = artifacts.digest(value)
    return json.dumps(value).encode() + b"\n"


def damaged(reader, good):
    """Files that are none, or nearly a good one."""
    ways = [st.binary(max_size=60), damaged_bytes(good)]
    if reader.is_json:
        ways += [damaged_json(good)] * 2
    return st.one_of(ways)


def fuzz(reader, folder, examples, cap_s):
    """Reads damaged files; returns how many were read and not refused."""
    path = folder / "epoch-00001" / reader.name
    path.parent.mkdir()
    reader.write(path)
    reader.read(path)  # or nothing is tested
    good, taken = path.read_bytes(), []
    end = time.monotonic() + cap_s

    @settings(
        max_examples=examples, deadline=None, database=None,
        phases=[Phase.generate], derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(reader, good))
    def read(content):
        if time.monotonic() > end:
            return
        path.write_bytes(content)
        try:
            reader.read(path)
            taken.append(content)
        except TfnasError as error:
            assert str(error).strip()

    read()
    return len(taken)


def id_of(reader):
    return f"{READERS.index(reader)}-{reader.name}"


@pytest.mark.parametrize("reader", READERS, ids=id_of)
def test_reader_raises_only_our_own_errors(reader, tmp_path):
    fuzz(reader, tmp_path, QUICK, CAP_S)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=id_of)
def test_reader_survives_a_hundred_thousand_files(reader, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(reader, tmp_path, MANY, CAP_S)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak - before < MEMORY_KIB


@pytest.mark.parametrize("reader", READERS, ids=id_of)
def test_a_folder_or_nothing_in_its_place_is_named(reader, tmp_path):
    path = tmp_path / reader.name
    if "journal" not in reader.name:  # a new one is made
        with pytest.raises(TfnasError):
            reader.read(path)
    path.mkdir()
    with pytest.raises(TfnasError, match=reader.name.split("-")[0]):
        reader.read(path)


def test_an_array_that_claims_to_be_huge_takes_no_memory(tmp_path):
    path = tmp_path / "a.npz"
    artifacts.write_npz(path, a=np.zeros(5))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(8))
    with pytest.raises(artifacts.ArtifactError, match='field "a".*bytes'):
        artifacts.read_npz(path)
