"""A file says what it is, and its report what it lost and where."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from tests.export import networks
from tfnas import data
from tfnas import export
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.errors import ExportError
from tfnas.export.metadata import schema

IMAGES = networks.coloured_images(8, seed=3, size=16)
CALIBRATION = networks.coloured_images(40, seed=2, size=16)
LABELS = tuple("zero one two three four five six seven eight nine".split())
METADATA = export.Metadata(
    "0123456789ab", LABELS, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "int8"
)


@pytest.fixture(scope="module")
def network():
    """A network with layers of all kinds, as float and as int8 file."""
    model = networks.random_weights(networks.ALL_KINDS, seed=1)
    return (
        model, export.to_tflite(model),
        export.to_tflite(model, "int8", CALIBRATION),
    )


def test_every_tensor_of_the_float_file_is_its_layers_output(network):
    model, float32, _ = network
    errors = export.layer_errors(model, float32, IMAGES)
    # All are found, and none is taken for another's.
    assert len(errors) >= 0.9 * sum(export.describe(float32)["ops"].values())
    assert max(error.relative_rmse for error in errors) < 1e-4
    assert errors[-1].layer == model.layers[-1].name


def test_error_of_the_last_layer_is_that_of_the_logits(network):
    model, _, int8 = network
    expected = model(IMAGES, training=False).numpy()
    received = export.TFLiteClassifier(int8).predict(IMAGES)
    rmse = np.sqrt(np.mean((received - expected) ** 2))
    (*_, last) = export.layer_errors(model, int8, IMAGES)
    by_hand = rmse / np.sqrt(np.mean(expected**2))
    assert last.op == "FULLY_CONNECTED"
    assert last.relative_rmse == pytest.approx(by_hand, rel=0.2)
    assert last.sqnr_db == pytest.approx(-20 * math.log10(last.relative_rmse))


def test_layer_that_hurts_is_named():
    """A channel far above the others takes all levels of their tensor."""
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(8, 1, name="good")(image)
    x = keras.layers.Conv2D(8, 1, name="bad")(x)
    x = keras.layers.Conv2D(8, 1, name="after")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="logits")(x))
    bad, after = model.get_layer("bad"), model.get_layer("after")
    # Nothing that comes later looks at the channel.
    bad.bias.assign([3000.0] + [0.0] * 7)
    after.kernel.assign(after.kernel * (np.arange(8) > 0)[:, None])
    int8 = export.to_tflite(model, "int8", CALIBRATION)
    errors = {e.layer: e for e in export.layer_errors(model, int8, IMAGES)}
    assert errors["good"].relative_rmse < 0.03
    assert errors["after"].relative_rmse > 0.3


def test_errors_need_images(network):
    with pytest.raises(ConfigError, match="images to compare on"):
        export.layer_errors(network[0], network[1], IMAGES[:0])


def test_report_holds_what_the_files_are(network):
    model, float32, int8 = network
    digits = data.load(
        {"name": "digits", "image_size": 16, "limit_test": 50}
    )
    report = export.make_report(model, float32, int8, IMAGES, digits.test)
    assert report["size_bytes"] == {"float32": len(float32), "file": len(int8)}
    shares = report["accuracy"]
    assert shares["keras"] == export.accuracy(model, digits.test)
    assert shares["file"] == export.accuracy(int8, digits.test)
    assert shares["drop_points"] == pytest.approx(
        100 * (shares["keras"] - shares["file"])
    )
    assert report["ops"] == export.describe(int8)["ops"]
    assert report["parity"]["n"] == len(IMAGES)
    text = export.format_report(report)
    assert f"{len(int8):,}" in text
    worst = max(report["layers"], key=lambda row: row["added"])
    assert worst["layer"] in text


def test_drop_beyond_the_limit_is_refused_with_both_accuracies():
    report = {
        "accuracy": {
            "keras": 0.9, "file": 0.885, "drop_points": 1.5,
            "test_images": 1000,
        }
    }
    export.check_drop(report, 1.5)
    with pytest.raises(ExportError, match=r"90\.00 %.*88\.50 %.*1000 test"):
        export.check_drop(report, 1.0)


def _operators(*codes):
    """Operators as a report has them; those in brackets are left out."""
    return [
        {
            "index": i, "code": code.strip("()"), "delegated": code[0] != "(",
            "why": "XNNPACK has none" if code[0] == "(" else None,
            "cost_ms": 0.5 if code[0] == "(" else None,
        }
        for i, code in enumerate(codes)
    ]


PIECES = {
    "pieces": 3,
    "operators": _operators("CONV_2D", "(RELU)", "ADD", "(RELU)", "ADD"),
}


def test_more_pieces_than_allowed_are_refused_with_what_is_between():
    export.check_pieces(PIECES, 3)
    with pytest.raises(ExportError, match=r"2 pieces.*3 pieces.*RELU 2"):
        export.check_pieces(PIECES, 2)
    nothing = {"pieces": 0, "operators": _operators("(CONV_2D)")}
    with pytest.raises(ExportError, match="none that it takes.*CONV_2D 1"):
        export.check_pieces(nothing, 1)
    unknown = {"pieces": None, "operators": [], "operators_missing": "crash"}
    with pytest.raises(ExportError, match="unknown number .crash."):
        export.check_pieces(unknown, 1)


def test_report_says_in_few_lines_what_runs_where(network):
    model, float32, int8 = network
    report = export.make_report(model, float32, int8, IMAGES)
    lowering = {
        "backend": "xnnpack", "applied": {"hard_swish": 2},
        "plain_because": None,
    }
    told = {**report, **PIECES, "lowering": lowering}
    lines = export.format_report(told).splitlines()
    assert "operators for xnnpack: hard_swish 2" in lines
    place = lines.index("XNNPACK runs 3 of 5 operators, in 3 pieces:")
    assert lines[place + 1] == "  outside 2 x RELU, 1.000 ms: XNNPACK has none"
    lowering = {**lowering, "applied": {}, "plain_because": "it is worse"}
    text = export.format_report({**told, "lowering": lowering})
    assert "operators as in the model: it is worse" in text


def test_metadata_come_back_from_the_file(network):
    _, _, int8 = network
    blob = export.with_metadata(int8, METADATA)
    assert export.read_metadata(blob) == dataclasses.replace(
        METADATA, inputs=("image",), outputs=("logits",)
    )


def test_file_with_metadata_computes_the_same(network):
    for plain in network[1:]:
        blob = export.with_metadata(plain, METADATA)
        np.testing.assert_array_equal(
            export.TFLiteClassifier(blob).predict(IMAGES),
            export.TFLiteClassifier(plain).predict(IMAGES),
        )
        assert len(blob) < len(plain) + 2000
        assert export.describe(blob)["ops"] == export.describe(plain)["ops"]


def test_constants_stay_aligned(network):
    blob = export.with_metadata(network[1], METADATA)
    model = schema.Model.GetRootAs(blob)
    start = np.frombuffer(blob, np.uint8).ctypes.data
    places = [
        model.Buffers(i).DataAsNumpy().ctypes.data - start
        for i in range(model.BuffersLength())
        if not model.Buffers(i).DataIsNone()
    ]
    assert len(places) > 20
    assert not any(place % 16 for place in places)


def test_new_metadata_take_the_place_of_old(network):
    once = export.with_metadata(network[2], METADATA)
    other = export.Metadata("ba9876543210", None)
    twice = export.with_metadata(once, other)
    found = export.read_metadata(twice)
    assert (found.arch_id, found.labels) == ("ba9876543210", None)
    entries = schema.ModelT.InitFromPackedBuf(twice).metadata
    assert [bytes(e.name) for e in entries].count(b"TFNAS_METADATA") == 1


def test_wrong_number_of_labels_is_refused(network):
    for labels in (LABELS[:9], (*LABELS, "ten")):
        metadata = dataclasses.replace(METADATA, labels=labels)
        with pytest.raises(ConfigError, match=f"10 labels.*{len(labels)}"):
            export.with_metadata(network[2], metadata)


def test_labels_are_lines_of_a_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a cat\n  dog \r\n\n")
    assert export.read_labels(path) == ("a cat", "dog")
    for text, message in (("", "nothing"), ("a\n\nb\n", "line 2 is empty")):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            export.read_labels(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="UTF-8"):
        export.read_labels(path)


def test_other_files_have_no_metadata(network):
    with pytest.raises(ArtifactError, match="one without"):
        export.read_metadata(network[1])
    for blob in (b"", b"no model", network[1][: len(network[1]) // 2]):
        with pytest.raises(ArtifactError):
            export.read_metadata(blob)
        with pytest.raises(ArtifactError):
            export.with_metadata(blob, METADATA)


def test_damaged_metadata_are_refused(network):
    blob = export.with_metadata(network[2], METADATA)
    for old, new in (
        (b"tfnas-metadata/1", b"tfnas-metadata/2"),
        (b'"arch_id"', b'"arch_xx"'),
        (b'{"format"', b'["format"'),
    ):
        assert old in blob
        with pytest.raises(ArtifactError, match="tfnas-metadata/1"):
            export.read_metadata(blob.replace(old, new))
