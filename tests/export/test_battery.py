"""Networks of every kind are exported, reported on, evaluated and timed.

As float and as int8; accuracies are those of the `.keras` and of both files on
the same images, as `tfnas-evaluate` takes them. All pass, or are refused in
the words of `REFUSED` and `UNJUDGED`. The test writes a table, `battery.jsonl`
and `battery.txt`, into the folder `TFNAS_BATTERY` if that is set. Random
weights, small images; `make test-slow` runs all of it.
"""

import gc
import json
import os
import pathlib
import tempfile
import time

import keras
import numpy as np
import pytest

from tests.export import strangers
from tflite_bench.device import HostDevice
from tfnas import applications
from tfnas import data
from tfnas import export
from tfnas import model_files
from tfnas import spaces
from tfnas.errors import ConfigError
from tfnas.errors import ExportError

CONVERTS = ("QUANTIZE", "DEQUANTIZE")
STATISTICS, CALIBRATION, IMAGES = 16, 12, 3
TEST_IMAGES, ROUNDS = 30, 2

# The smallest image that each of Keras takes, at least 32 px.
KERAS = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Large": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}
SEARCHED = (
    "autoshrink_cnn@32", "autospace@32", "autospace_proxyless@32",
    "densenas_mbv2@32", "densenas_resnet@32", "mobilenetv3@32", "nasbench201",
    "proxyless_mbconv@32",
)
OURS = (
    "ase_nas", "autospace_340m", "densenas_a", "shrink_cnn_a", "shrink_cnn_b",
)
SIDE = 64  # of the images of `OURS`
QUICK = ("nested", "several_outputs", "grey")
# Networks that no data are for, and what is said then.
UNJUDGED = {
    "shared": "Received: channels=8", "list_of_outputs": "classes=588",
}
# Name and type of a file that TFLite cannot hold, to what is said then.
REFUSED: dict[tuple[str, str], str] = {}


def _keras(name):
    shape = (KERAS[name], KERAS[name], 3)
    make = getattr(keras.applications, name)
    if name == "VGG16":  # 119 of its 134 million weights are in its head
        body = make(include_top=False, input_shape=shape, weights=None)
        x = keras.layers.GlobalAveragePooling2D()(body.output)
        return keras.Model(body.input, keras.layers.Dense(10)(x))
    return make(
        input_shape=shape, weights=None, classes=10, classifier_activation=None
    )


def build(name):
    """Returns a network whose tensors are of the order of 1.

    Its batch norms know the statistics of images, or else random weights
    would make logits that are huge or all alike.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    if name in KERAS:
        model = _keras(name)
    elif name in SEARCHED:
        model = applications.from_arch(spaces.get(name).sample(seed=0))
    elif name in OURS:
        model = applications.get(
            name, input_shape=(SIDE, SIDE, 3), classes=10
        )
    else:
        model = strangers.ALL[name]()
    norms = [
        layer for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        shape = strangers.image_shape(model)
        model(strangers.images(STATISTICS, shape), training=True)
    return model


def examine(name):
    """Exports a network and returns what became of it, a row of the table."""
    model = build(name)
    shape = strangers.image_shape(model)
    images = strangers.images(IMAGES, shape, seed=3)
    calibration = np.concatenate(
        [images, strangers.images(CALIBRATION, shape, seed=1)]
    )
    row = {"name": name, "image": list(shape), "weights": model.count_params()}
    float32, blobs = None, {}
    for quantize in ("none", "int8"):
        begin = time.monotonic()
        try:
            blob = export.to_tflite(
                model, quantize, calibration if quantize == "int8" else None,
                image_size=shape[:2],
            )
        except ExportError as error:
            row[quantize] = {"refused": str(error)}
            continue
        float32 = float32 or blob
        blobs[quantize] = blob
        report = export.make_report(model, float32, blob, images)
        row[quantize] = {
            "seconds": round(time.monotonic() - begin, 1),
            "size_bytes": len(blob),
            "operators": sum(
                n for op, n in report["ops"].items() if op not in CONVERTS
            ),
            "listed": len(report["layers"]),
            "left_out": report["layers_left_out"],
            "largest": max(
                (r["relative_rmse"] for r in report["layers"]), default=None
            ),
            "last": report["layers"][-1]["relative_rmse"],
            "parity": report["parity"],
            "missing": [k for k in report if k.endswith("_missing")],
        }
    with tempfile.TemporaryDirectory() as folder:
        _evaluate_and_time(model, blobs, shape, pathlib.Path(folder), row)
    return row


def _evaluate_and_time(model, blobs, shape, folder, row):
    """Adds accuracies on digits, or why there are none, and latencies."""
    feed = export.Feed(mean=(127.5,), std=(127.5,))
    model_files.save_model(model, folder / "none.keras", feed)
    paths = {"keras": folder / "none.keras"}
    for quantize, blob in blobs.items():
        paths[quantize] = folder / f"{quantize}.tflite"
        said = export.Metadata.of(feed, quantize=quantize)
        paths[quantize].write_bytes(export.with_metadata(blob, said))
    row["accuracy"] = {kind: _judge(paths[kind], shape) for kind in paths}
    timed = [str(paths[quantize]) for quantize in blobs]
    measured = HostDevice().measure_apart(timed, ROUNDS)
    for quantize, measurement in zip(blobs, measured, strict=True):
        row[quantize]["latency_ms"] = measurement.latency_ms


def _judge(path, shape):
    """Returns the accuracy of a file, or why it has none."""
    try:
        network = export.load_classifier(path, apart=True)
        digits = data.load({
            "name": "digits", "image_size": shape[:2], "channels": shape[-1],
            "limit_test": TEST_IMAGES,
        })
        return export.accuracy(network, export.fit(network, digits).test)
    except (ConfigError, ExportError) as error:
        return str(error)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A list that becomes the table when all is done."""
    found = []
    yield found
    named = os.environ.get("TFNAS_BATTERY")
    folder = pathlib.Path(named or tmp_path_factory.mktemp("battery"))
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(row)}\n" for row in found)
    (folder / "battery.jsonl").write_text(lines)
    (folder / "battery.txt").write_text(as_text(found))


def as_text(rows):
    """Returns the table as text."""
    lines = [
        f"{'network':<24}{'type':<6}{'operators':>10}{'left out':>9}"
        f"{'largest error':>15}{'of the output':>15}{'bytes':>13}"
        f"{'accuracy':>10}{'ms':>9}"
    ]
    for row in rows:
        for quantize in ("none", "int8"):
            part, title = row[quantize], f"{row['name']:<24}{quantize:<6}"
            if "refused" in part:
                lines.append(f"{title}  {part['refused']}")
                continue
            lines.append(
                f"{title}{part['operators']:>10}{part['left_out']:>9}"
                f"{part['largest']:>15.1e}{part['last']:>15.1e}"
                f"{part['size_bytes']:>13,}"
                f"{_cell(row['accuracy'][quantize]):>10}"
                f"{part['latency_ms']:>9.3f}"
            )
    return "\n".join(lines) + "\n"


def _cell(share):
    return "refused" if isinstance(share, str) else f"{100 * share:.1f} %"


def _cases():
    for name in (*strangers.ALL, *SEARCHED, *OURS, *KERAS):
        marks = () if name in QUICK else pytest.mark.slow
        yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", _cases())
def test_network_is_exported_with_a_report(name, rows):
    row = examine(name)
    rows.append(row)
    gc.collect()
    for quantize in ("none", "int8"):
        part = row[quantize]
        if (name, quantize) in REFUSED:
            assert REFUSED[name, quantize] in part["refused"]
            continue
        assert "refused" not in part, part
        assert part["missing"] == []
        # Most operators are compared, in the int8 file as well.
        assert part["listed"] >= 0.8 * part["operators"]
        assert part["listed"] + part["left_out"] <= part["operators"]
        assert part["parity"]["n"] == IMAGES
        assert part["latency_ms"] > 0
    assert row["none"]["largest"] < 1e-3
    shares = row["accuracy"]
    if name in UNJUDGED:
        assert all(UNJUDGED[name] in share for share in shares.values())
    else:
        assert shares["keras"] == shares["none"], shares
        assert 0 <= shares["int8"] <= 1
    assert row["none"]["size_bytes"] > row["int8"].get("size_bytes", 0) / 2


def test_battery_is_large_enough():
    assert len(list(_cases())) >= 30
    # What is refused is refused for a reason that still holds.
    assert all(name in KERAS for name, _ in REFUSED)
