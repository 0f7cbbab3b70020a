"""An Arch is a value: equal, hashable, named by its content, read strictly."""

import copy
import hashlib
import re

import pytest

from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError


def _arch():
    return Arch(
        (
            Block("conv", 3, 8, 2, 0, {"k": 3, "act": "relu6"}),
            Block("mbconv", 8, 8, 1, 1, {"k": 5, "e": 6, "norm": {"eps": 0.1}}),
            Block("classifier", 8, 10, stage=2),
        ),
        (32, 32, 3),
        10,
        "some_space",
    )


def test_blocks_are_equal_whatever_the_order_of_their_attributes():
    one = Block("x", 1, 2, attrs={"k": 3, "norm": {"eps": 0.1, "affine": True}})
    two = Block("x", 1, 2, attrs={"norm": {"affine": True, "eps": 0.1}, "k": 3})
    assert one == two
    assert len({one, two}) == 1


@pytest.mark.parametrize(
    "other",
    [
        Block("y", 1, 2, 1, 0, {"k": 3}),
        Block("x", 3, 2, 1, 0, {"k": 3}),
        Block("x", 1, 3, 1, 0, {"k": 3}),
        Block("x", 1, 2, 2, 0, {"k": 3}),
        Block("x", 1, 2, 1, 1, {"k": 3}),
        Block("x", 1, 2, 1, 0, {"k": 5}),
        Block("x", 1, 2, 1, 0, {"k": 3, "e": 1}),
        Block("x", 1, 2),
    ],
)
def test_blocks_differ_when_any_field_differs(other):
    assert Block("x", 1, 2, 1, 0, {"k": 3}) != other


def test_lists_in_attributes_can_be_hashed():
    one = Block("cell", 4, 4, attrs={"graph": [["a", 0], ["b", 1]]})
    two = Block("cell", 4, 4, attrs={"graph": [["a", 0], ["b", 2]]})
    assert len({one, two, copy.deepcopy(one)}) == 2


def test_json_round_trip_gives_an_equal_arch():
    arch = _arch()
    again = Arch.from_json(arch.to_json())
    assert again == arch
    assert hash(again) == hash(arch)
    assert again.id == arch.id


def test_file_round_trip_gives_an_equal_arch(tmp_path):
    arch = _arch()
    arch.save(tmp_path / "arch.json")
    assert Arch.load(tmp_path / "arch.json") == arch


def test_id_is_the_hash_of_the_canonical_json():
    canonical = (
        '{"blocks":['
        '{"act":"relu6","in":3,"k":3,"op":"conv","out":8,"stage":0,"stride":2},'
        '{"e":6,"in":8,"k":5,"norm":{"eps":0.1},"op":"mbconv","out":8,'
        '"stage":1,"stride":1},'
        '{"in":8,"op":"classifier","out":10,"stage":2,"stride":1}],'
        '"classes":10,"format":"tfnas-arch/1","input_shape":[32,32,3]}'
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    assert _arch().id == digest[:12] == "303fdaa122dd"


def test_id_ignores_the_space_and_nothing_else():
    value = _arch().to_json()
    assert Arch.from_json({**value, "space": None}).id == _arch().id
    for field, other in [("classes", 11), ("input_shape", [32, 33, 3])]:
        assert Arch.from_json({**value, field: other}).id != _arch().id
    for field, other in [("stride", 1), ("k", 5), ("out", 9)]:
        changed = copy.deepcopy(value)
        changed["blocks"][0][field] = other
        assert Arch.from_json(changed).id != _arch().id


def test_stride_and_stage_may_be_left_out():
    block = Block.from_json({"op": "x", "in": 1, "out": 2}, "file", "blocks[0]")
    assert block == Block("x", 1, 2, stride=1, stage=0)


@pytest.mark.parametrize(
    "path, value, field",
    [
        (["format"], "tfnas-arch/2", "format"),
        (["format"], None, "format"),
        (["extra"], 1, "extra"),
        (["space"], 5, "space"),
        (["input_shape"], [32, 32], "input_shape"),
        (["input_shape"], "224", "input_shape"),
        (["input_shape", 1], 0, "input_shape[1]"),
        (["input_shape", 1], 32.0, "input_shape[1]"),
        (["classes"], 0, "classes"),
        (["classes"], None, "classes"),
        (["classes"], True, "classes"),
        (["classes"], 1 << 40, "classes"),
        (["blocks"], [], "blocks"),
        (["blocks"], {}, "blocks"),
        (["blocks", 1], "conv", "blocks[1]"),
        (["blocks", 1], {"op": "conv", "in": 3}, "blocks[1].out"),
        (["blocks", 1, "op"], "", "blocks[1].op"),
        (["blocks", 1, "op"], 7, "blocks[1].op"),
        (["blocks", 1, "in"], 0, "blocks[1].in"),
        (["blocks", 1, "in"], "8", "blocks[1].in"),
        (["blocks", 1, "out"], 8.0, "blocks[1].out"),
        (["blocks", 1, "out"], -8, "blocks[1].out"),
        (["blocks", 1, "stride"], 3, "blocks[1].stride"),
        (["blocks", 1, "stride"], True, "blocks[1].stride"),
        (["blocks", 1, "stride"], 1.0, "blocks[1].stride"),
        (["blocks", 1, "stride"], [1], "blocks[1].stride"),
        (["blocks", 1, "stage"], -1, "blocks[1].stage"),
        (["blocks", 1, "stage"], None, "blocks[1].stage"),
    ],
)
def test_a_wrong_field_is_named_with_the_file(path, value, field):
    arch = _arch().to_json()
    place = arch
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    expected = re.escape(f"nets/a.json: field `{field}` must be")
    with pytest.raises(ArtifactError, match=expected):
        Arch.from_json(arch, "nets/a.json")


def test_something_else_than_an_object_is_refused():
    with pytest.raises(ArtifactError, match="a.json: .* must be an object"):
        Arch.from_json([1, 2], "a.json")


def test_a_truncated_file_is_named_and_left_alone(tmp_path):
    path = tmp_path / "arch.json"
    _arch().save(path)
    torn = path.read_bytes()[:100]
    path.write_bytes(torn)
    with pytest.raises(ArtifactError, match="arch.json"):
        Arch.load(path)
    assert path.read_bytes() == torn


def test_a_file_of_another_version_is_named_with_its_field(tmp_path):
    path = tmp_path / "arch.json"
    path.write_text('{"format": "tfnas-arch/99"}')
    with pytest.raises(ArtifactError, match='arch.json: field "format"'):
        Arch.load(path)
