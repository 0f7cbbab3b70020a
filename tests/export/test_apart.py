"""A `.tflite` runs in a process of its own, whatever becomes of that."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnas.errors import ArtifactError
from tfnas.errors import RuntimeCrash
from tfnas.export.apart import ApartInterpreter


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """A file of `a -> (mean over the map, a + 1)` with a free batch."""
    given = keras.Input((2, 3, 1), name="a")
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(given)
    plus = keras.layers.Rescaling(1.0, 1.0, name="plus")(given)
    model = keras.Model(given, {"mean": mean, "plus": plus})
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    path = tmp_path_factory.mktemp("files") / "sums.tflite"
    path.write_bytes(content)
    return path


def _named(interpreter, outputs):
    """Returns outputs by the names of the signature."""
    position = {t["index"]: i for i, t in enumerate(interpreter.outputs)}
    return {
        name: outputs[position[index]]
        for name, index in interpreter.signature["outputs"].items()
    }


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_outputs_are_what_numpy_computes(sums):
    images = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    with ApartInterpreter(sums, "sums") as interpreter:
        outputs = _named(interpreter, interpreter.run(images))
    np.testing.assert_allclose(outputs["mean"], [[2.5]])
    np.testing.assert_allclose(outputs["plus"], images + 1)


def test_a_free_batch_takes_another_size(sums):
    images = np.arange(24, dtype=np.float32).reshape(4, 2, 3, 1)
    with ApartInterpreter(sums.read_bytes()) as interpreter:
        (given,) = interpreter.inputs
        assert given["shape"] == [1, 2, 3, 1]
        assert given["shape_signature"] == [-1, 2, 3, 1]
        assert given["dtype"] == "float32"
        assert given["quantization"] == [0.0, 0] and given["scales"] == 0
        assert interpreter.signature["inputs"] == {"a": given["index"]}
        interpreter.resize(images.shape)
        assert interpreter.inputs[0]["shape"] == [4, 2, 3, 1]
        outputs = _named(interpreter, interpreter.run(images))
    np.testing.assert_allclose(outputs["mean"][:, 0], [2.5, 8.5, 14.5, 20.5])


@pytest.mark.parametrize(
    "name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL"]
)
def test_a_crash_is_one_line_that_names_file_signal_and_moment(sums, name):
    interpreter = ApartInterpreter(sums, "sums.tflite")
    os.kill(interpreter.pid, getattr(signal, name))
    with pytest.raises(RuntimeCrash) as caught:
        interpreter.run(np.zeros((1, 2, 3, 1), np.float32))
    why = f"{name} (out of memory?)" if name == "SIGKILL" else name
    assert str(caught.value) == (
        f"sums.tflite: the runtime crashed with {why} while running"
    )
    assert caught.value.exit_code == 1
    assert _gone(interpreter.pid)


def test_a_hang_ends_after_the_limit(sums):
    interpreter = ApartInterpreter(sums, "sums.tflite", timeout_s=60)
    interpreter._timeout_s = 0.5
    os.kill(interpreter.pid, signal.SIGSTOP)
    with pytest.raises(RuntimeCrash, match="took more than 0.5 s while run"):
        interpreter.run(np.zeros((1, 2, 3, 1), np.float32))
    assert _gone(interpreter.pid)


def test_the_process_ends_with_its_object(sums):
    interpreter = ApartInterpreter(sums)
    pid = interpreter.pid
    assert not _gone(pid)
    del interpreter
    assert _gone(pid)


def test_what_is_no_model_is_refused_by_its_name(sums, tmp_path):
    whole = sums.read_bytes()
    for content in (b"", b"text", whole[:64], whole[: len(whole) // 2]):
        with pytest.raises(ArtifactError, match="^odd.tflite: the runtime"):
            ApartInterpreter(content, "odd.tflite")
    with pytest.raises(ArtifactError, match="absent.tflite: No such file"):
        ApartInterpreter(tmp_path / "absent.tflite")
    with pytest.raises(ArtifactError, match="expected a regular file"):
        ApartInterpreter(tmp_path)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 2, 3, 1), np.float32),
        np.zeros((1, 2, 3, 1), np.float64),
        np.zeros((1, 2, 3, 2), np.float32),
    ],
)
def test_what_the_runtime_refuses_is_one_line(sums, images):
    with ApartInterpreter(sums, "sums.tflite") as interpreter:
        with pytest.raises(ArtifactError, match="^sums.tflite: ") as caught:
            interpreter.run(images)
        assert "\n" not in str(caught.value)
        interpreter.run(np.zeros((1, 2, 3, 1), np.float32))  # it goes on


def test_no_file_of_the_current_folder_is_imported(
    sums, tmp_path, monkeypatch
):
    (tmp_path / "numpy.py").write_text("raise SystemExit('taken')\n")
    monkeypatch.chdir(tmp_path)
    ApartInterpreter(sums).close()
