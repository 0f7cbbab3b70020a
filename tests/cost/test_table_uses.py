"""A table is taken for what it was measured for, and refused otherwise."""

import dataclasses

import pytest
from ml_collections import config_dict

from tests.cost.lut_tables import HEADER
from tests.cost.lut_tables import make_table
from tfnas import spaces
from tfnas.cost.lut import Calibration
from tfnas.cost.lut import LatencyTable
from tfnas.errors import ArtifactError
from tfnas.errors import LutMiss

RUNTIME = HEADER["runtime"]


def table_with(source="lut/t.json", **runtime):
    header = {**HEADER, "runtime": {**RUNTIME, **runtime}}
    return make_table(["a"], header=header, source=source)


def settings(**fields):
    return config_dict.ConfigDict({"dtype": "int8", **fields})


def test_a_table_that_does_not_say_is_of_files_as_the_converter_writes_them():
    header = {**HEADER, "runtime": dict(RUNTIME)}
    del header["runtime"]["lowering"]
    old = make_table(["a"], header=header)
    assert old.lowering == "none"
    assert old.diff(table_with(lowering="none")).header == {}
    assert list(old.diff(table_with()).header) == ["runtime"]
    with pytest.raises(ArtifactError, match="unlike provenance"):
        old.merge(table_with())


def test_an_old_file_is_read(tmp_path):
    header = {**HEADER, "runtime": dict(RUNTIME)}
    del header["runtime"]["lowering"]
    make_table(["a"], header=header).save(tmp_path / "old.json")
    assert LatencyTable.load(tmp_path / "old.json").lowering == "none"


@pytest.mark.parametrize(
    "field, header",
    [
        ("runtime.lowering", {"runtime": {**RUNTIME, "lowering": "gpu"}}),
        ("entries", {"entries": "pairs"}),
    ],
)
def test_an_unknown_kind_of_table_is_refused(field, header, tmp_path):
    with pytest.raises(ArtifactError, match=f"field `{field}`"):
        make_table(["a"], header={**HEADER, **header}).save(
            tmp_path / "t.json"
        )


@pytest.mark.parametrize(
    "runtime, field, remedy",
    [
        ({"lowering": "none"}, "runtime.lowering", "--lower"),
        ({"dtype": "float32"}, "runtime.dtype", "lut.dtype"),
    ],
)
def test_a_search_refuses_a_table_of_other_files(runtime, field, remedy):
    table_with().require_config(settings())
    with pytest.raises(ArtifactError) as caught:
        table_with(**runtime).require_config(settings())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"lut/t.json: field `{field}`")
    assert remedy in message


def test_a_config_says_which_files_it_is_for():
    table_with(lowering="none").require_config(settings(lower="none"))
    with pytest.raises(ArtifactError, match="runtime.lowering"):
        table_with().require_config(settings(lower="none"))


@pytest.mark.parametrize(
    "there, field",
    [
        ({"threads": 4}, "runtime.threads"),
        ({"tflite": {"name": "ai-edge-litert", "version": "9"}},
         "runtime.tflite"),
        ({"delegate": "gpu"}, "runtime.delegate"),
    ],
)
def test_a_run_refuses_a_table_of_another_runtime(there, field):
    here = {k: RUNTIME[k] for k in ("tflite", "threads", "delegate")}
    device = {"device": HEADER["device"], "runtime": here}
    table_with().require_config(settings(), device)
    with pytest.raises(ArtifactError, match=f"lut/t.json: field `{field}`"):
        table_with(**there).require_config(settings(), device)


def test_the_bound_of_the_error_is_that_of_the_config():
    fit = Calibration(1.0, 0.0, 8.0, "x", 5)
    table = dataclasses.replace(table_with(), calibration=fit)
    table.require_config(settings(max_table_error=8.0))
    for fields in ({}, {"max_table_error": None}, {"max_table_error": 7.9}):
        with pytest.raises(ArtifactError, match=r"off.*8\.0 %"):
            table.require_config(settings(**fields))


def test_a_table_of_blocks_is_refused_where_the_runtime_fuses_them():
    space = spaces.get("nasbench201")
    with pytest.raises(ArtifactError) as caught:
        table_with().require_space(space)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("lut/t.json: field `entries`")
    assert "tfnas-lut --space=nasbench201 --entries=operators" in message


def test_a_table_of_another_space_is_refused_with_all_that_it_lacks():
    space = spaces.get("densenas_resnet@32")
    with pytest.raises(LutMiss) as caught:
        table_with().require_space(space)
    assert list(caught.value.keys) == space.lut_keys()


def test_a_file_is_never_shown_at_length(tmp_path):
    path = tmp_path / "t.json"
    for text in (f"[{'1.5, ' * 9000}2]", f'{{"format": "{"x" * 9000}"}}'):
        path.write_text(text)
        with pytest.raises(ArtifactError, match="t.json: ") as caught:
            LatencyTable.load(path)
        assert len(str(caught.value)) < len(str(path)) + 250
