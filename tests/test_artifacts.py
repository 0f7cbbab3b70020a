"""Files survive failed writes, and damaged files are refused by name."""

import errno
import json
import os
import pathlib
import zipfile

import numpy as np
import pytest

from tfnas import artifacts
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError


def _disk_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("failing_call", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch, failing_call):
    path = tmp_path / "a.json"
    artifacts.write_json(path, {"kept": True})
    monkeypatch.setattr(os, failing_call, _disk_full)

    with pytest.raises(OSError, match=r"No space left on device: '.*a\.json'"):
        artifacts.write_json(path, {"kept": False})

    assert json.loads(path.read_text()) == {"kept": True}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_really_full_device_leaves_the_old_file(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full is a device of Linux")
    path = tmp_path / "a.txt"
    artifacts.write_text(path, "old")

    def open_full(name, mode):
        pathlib.Path(name).touch()
        return open("/dev/full", mode)

    monkeypatch.setattr(artifacts, "open", open_full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        artifacts.write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_round_trip_makes_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.json"
    value = {"format": "tfnas-x/1", "text": "ö", "numbers": [1, 2.5, None]}
    artifacts.write_json(path, value)
    assert artifacts.read_json(path, format="tfnas-x/1") == value


def test_wrong_format_names_path_field_and_value(tmp_path):
    path = tmp_path / "a.json"
    artifacts.write_json(path, {"format": "tfnas-x/2"})
    with pytest.raises(ArtifactError) as failure:
        artifacts.read_json(path, format="tfnas-x/1")
    for part in (str(path), '"format"', "tfnas-x/1", "tfnas-x/2"):
        assert part in str(failure.value)


@pytest.mark.parametrize(
    "content, what",
    [
        (b'{"a": [1, 2', "line 1 column"),
        (b"", "not valid JSON"),
        (b"[1, 2]", "a list"),
        (b'{"a": NaN}', "NaN"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
    ],
    ids=["truncated", "empty", "list", "nan", "binary", "deep"],
)
def test_damaged_json_names_path_and_place(tmp_path, content, what):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as failure:
        artifacts.read_json(path)
    assert str(path) in str(failure.value)
    assert what in str(failure.value)
    assert path.read_bytes() == content


def test_missing_and_oversized_files_are_named(tmp_path):
    path = tmp_path / "a.json"
    for read in (artifacts.read_json, artifacts.read_npz, artifacts.sha256):
        with pytest.raises(ArtifactError, match=r"a\.json.*No such file"):
            read(path)
    artifacts.write_json(path, {"a": "x" * 100})
    with pytest.raises(ArtifactError, match=r"a\.json: expected at most 50"):
        artifacts.read_json(path, max_bytes=50)


def test_json_refuses_numbers_it_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not os.listdir(tmp_path)


def test_npz_round_trip(tmp_path):
    path = tmp_path / "a.npz"
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    artifacts.write_npz(path, **{"conv/kernel": weights, "step": 3})
    arrays = artifacts.read_npz(path)
    assert sorted(arrays) == ["conv/kernel", "step"]
    assert arrays["conv/kernel"].dtype == np.float32
    np.testing.assert_array_equal(arrays["conv/kernel"], weights)
    assert arrays["step"] == 3


def test_npz_never_holds_python_objects(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="dtype=object"):
        artifacts.write_npz(path, thing=np.array([{}], dtype=object))
    np.savez(path, good=np.ones(2), thing=np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match=r'a\.npz: field "thing"'):
        artifacts.read_npz(path)


def test_truncated_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    artifacts.write_npz(path, a=np.arange(1000))
    content = path.read_bytes()
    for size_bytes in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size_bytes])
        with pytest.raises(ArtifactError, match=r"a\.npz"):
            artifacts.read_npz(path)


def test_npz_with_a_damaged_array_names_the_field(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00 damaged")
    with pytest.raises(ArtifactError, match=r'a\.npz: field "a"'):
        artifacts.read_npz(path)


def test_npz_that_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    artifacts.write_npz(path, a=np.zeros(100_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(ArtifactError, match="at most 10000 bytes unpacked"):
        artifacts.read_npz(path, max_bytes=10_000)


def test_torn_last_line_is_left_out_and_then_replaced(tmp_path):
    path = tmp_path / "log.jsonl"
    artifacts.append_jsonl(path, {"step": 1})
    artifacts.append_jsonl(path, {"step": 2})
    with open(path, "ab") as file:
        file.write(b'{"step": 3, "lo')
    assert artifacts.read_jsonl(path) == [{"step": 1}, {"step": 2}]

    artifacts.append_jsonl(path, {"step": 4})
    steps = [record["step"] for record in artifacts.read_jsonl(path)]
    assert steps == [1, 2, 4]


def test_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ArtifactError, match=r"log\.jsonl: record 2"):
        artifacts.read_jsonl(path)


def test_sha256_is_the_published_digest(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # the first example of FIPS 180-2
    assert artifacts.sha256(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_workdir_belongs_to_its_first_config(tmp_path):
    workdir = tmp_path / "run"
    config = {"seed": 0, "search": {"epochs": 3, "sizes": (32, 64)}}
    artifacts.claim_workdir(workdir, config)
    artifacts.claim_workdir(workdir, config)

    other = {"seed": 0, "search": {"epochs": 5}, "extra": {"x": 1}}
    with pytest.raises(ConfigError) as failure:
        artifacts.claim_workdir(workdir, other)
    message = str(failure.value)
    for part in (
        "search.epochs: 3 there, 5 here",
        "search.sizes: [32, 64] there, absent here",
        "extra.x: absent there, 1 here",
        "another version of tfnas, which can finish that run",
    ):
        assert part in message
    assert "seed" not in message
    kept = artifacts.read_json(workdir / "config.json")
    assert kept["search"]["epochs"] == 3


def test_ten_of_many_fields_that_differ_are_listed(tmp_path):
    artifacts.claim_workdir(tmp_path, {f"f{i:02}": 0 for i in range(67)})
    with pytest.raises(ConfigError) as caught:
        artifacts.claim_workdir(tmp_path, {f"f{i:02}": 1 for i in range(67)})
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        *(f"  f{i:02}: 0 there, 1 here" for i in range(10)), "  and 57 others"
    ]


def test_full_disk_is_named_with_the_log(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full is a device of Linux")
    log = tmp_path / "log.jsonl"
    log.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left.*log.jsonl"):
        artifacts.append_jsonl(log, {"a": 1})
