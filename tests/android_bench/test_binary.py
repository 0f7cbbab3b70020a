"""A program for another processor is refused before it is copied."""

import shutil
import struct
import sys

import pytest

from android_bench import plausible
from android_bench.binary import architecture
from android_bench.binary import check_fits
from android_bench.binary import check_version
from tfnas.errors import ArtifactError


def elf(path, machine, order=1):
    head = b"\x7fELF" + bytes([2, order]) + bytes(10)
    path.write_bytes(head + struct.pack("<HH", 3, machine) + bytes(44))
    return path


def test_the_processor_is_read_from_the_header(tmp_path):
    path = tmp_path / "program"
    for machine, name in ((183, "aarch64"), (40, "arm"), (62, "x86_64")):
        assert architecture(elf(path, machine)) == name
    path.write_text("#!/bin/sh\n")
    assert architecture(path) is None


def test_this_python_is_for_this_machine():
    import platform

    found = architecture(sys.executable)
    assert found == platform.machine()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" * 20, b"\x7fELF", b"MZ"])
def test_what_is_no_program_is_refused(data, tmp_path):
    path = tmp_path / "benchmark_model.zip"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="zip: expected a program"):
        architecture(path)
    with pytest.raises(ArtifactError, match="No such file"):
        architecture(tmp_path / "missing")
    with pytest.raises(ArtifactError, match="expected a program"):
        architecture(elf(path, 183, order=2))


def test_it_must_be_one_that_the_phone_runs(fast_adb, tmp_path):
    check_fits(shutil.which("sh"), fast_adb)
    with pytest.raises(ArtifactError, match=r"for [^\[]+, which .* riscv64"):
        check_fits(elf(tmp_path / "program", 243), fast_adb)


def test_a_program_that_is_too_old_for_a_model_is_refused():
    check_version("b", "2.17.0", "m.tflite", "2.3.0")
    check_version("b", "2.19.0", "m.tflite", "2.23.0")  # LiteRT of 2026
    with pytest.raises(ArtifactError, match="TensorFlow Lite 2.23.0 or later"):
        check_version("b", "2.18.0", "m.tflite", "2.23.0")
    check_version("b", "unknown", "m.tflite", "2.3.0")
    check_version("b", "2.3.0", "m.tflite", None)
    with pytest.raises(ArtifactError, match="b: .* Lite 2.11.0 .* m.tflite"):
        check_version("b", "2.3.0", "m.tflite", "2.11.0")


def test_what_a_model_needs_is_what_its_converter_wrote(tmp_path):
    import tensorflow as tf

    doubled = tf.function(
        lambda x: x + x, input_signature=[tf.TensorSpec([1, 4])]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [doubled.get_concrete_function()]
    )
    needed = plausible.contents(converter.convert(), "m").runtime
    assert needed.startswith(("1.", "2."))
