"""The released space and network are ours to read, count, search and write."""

import dataclasses
import json

import numpy as np
import pytest

import tfnas
from tests import chain_nets
from tfnas import applications
from tfnas import artifacts
from tfnas import spaces
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.cell import Cell
from tfnas.spaces import autospace_files
from tfnas.spaces import cells
from tfnas.spaces.autospace_specs import CHAINS
from tfnas.spaces.autospace_specs import NET_340M
from tfnas.spaces.autospace_specs import SPEC
from tfnas.spaces.autospace_specs import SPEC_32
from tfnas.spaces.candidates import from_file

# Operator of blocks 1 to 21 of the released network: `(e, codes)` of a cell,
# `(e, kernel)` of an inverted residual, `None` of a skip.
NET = [
    (6, "5.1.2.1.1.2"), (6, 3), None, None, (3, "7.5.2.1.5.5"),
    (6, "2.5.2.1.2.2"), (3, 3), None, (6, "5.5.2.1.5.5"), (3, "2.5.5.1.2.5"),
    (6, "5.1.2.1.1.2"), None, (6, "7.5.2.1.2.5"), (6, "5.1.2.1.1.2"), None,
    None, (6, "7.5.2.1.5.2"), *[(6, "9.1.2.1.1.2")] * 4,
]
WIDTHS = [24] * 4 + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [320]
HALVED = (1, 5, 9, 17)


def layer(cin, cout, taps, side, groups=1):
    """Parameters, scale and offset included, and multiply-adds."""
    kernel = taps * cin * cout // groups
    return np.array([kernel + 2 * cout, kernel * side**2])


def count_by_hand():
    """Counts of the released network, from its description alone."""
    total = layer(3, 32, 9, 112) + layer(32, 32, 9, 112, 32)
    total += layer(32, 16, 1, 112)
    cin, side = 16, 112
    for number, (cout, op) in enumerate(zip(WIDTHS, NET, strict=True), 1):
        before, side = side, side // 2 if number in HALVED else side
        if op is None:
            continue
        e, what = op
        mid = e * cin
        total += layer(cin, mid, 1, before) + layer(mid, cout, 1, side)
        codes = [what + 2] if isinstance(what, int) else [
            int(c) for c in what.split(".")
        ]
        for code in codes:
            if code not in (1, 2):
                total += layer(mid, mid, (code - 2) ** 2, side, mid)
        cin = cout
    total += layer(320, 1280, 1, 7)
    return total + np.array([1281 * 1000, 1280 * 1000])


def released():
    spec, path = CHAINS[""]
    return autospace_files.read_space(path, spec.places)


def net_340m():
    return autospace_files.read_net(NET_340M)


def test_the_released_network_counts_as_by_hand_and_nearly_as_published():
    counts = tfnas.count(net_340m())
    params, madds = count_by_hand()
    assert (counts.params, counts.madds) == (params, madds)
    assert (params, madds) == (4_507_920, 336_336_512)
    assert params == pytest.approx(4.3e6, rel=0.06)
    assert madds == pytest.approx(340e6, rel=0.02)


def test_nine_taps_for_all_kernels_match_the_published_parameters():
    arch = net_340m()
    blocks = tuple(
        dataclasses.replace(b, attrs={**b.attrs, "large_kernel": "dilated"})
        if b.op == "cell" else b
        for b in arch.blocks
    )
    params = tfnas.count(dataclasses.replace(arch, blocks=blocks)).params
    assert round(params / 1e6, 1) == 4.3


def test_the_network_1_4_times_as_wide_is_nearly_the_published_one():
    text = spaces.get("autospace_proxyless").encode(net_340m())
    counts = tfnas.count(spaces.get("autospace_proxyless@1.4").decode(text))
    assert counts.params == pytest.approx(7.2e6, rel=0.015)
    assert counts.madds == pytest.approx(650e6, rel=0.035)


def test_every_cell_of_the_released_network_is_one_of_its_position():
    positions, found = released().positions, 0
    arch = net_340m()
    for number, block in enumerate(arch.blocks[2:-2], 1):
        if block.op != "cell":
            continue
        cell = Cell.parse(block.attrs["cell"])
        row = positions[(number - 1) // 2]
        assert [cells.fuse(c) for c in row].count(cell) == 1
        found += 1
    assert found == 13


def test_the_released_network_is_one_of_the_released_space():
    space = spaces.get("autospace_proxyless")
    arch = net_340m()
    assert space.contains(arch)
    text = space.encode(arch)
    assert text.split("|")[:3] == ["2.0.0.5.1.2.1.1.2", "mbconv_k3_e6", "skip"]
    again = space.decode(text)
    assert (again.id, again.space) == (arch.id, "autospace_proxyless")
    assert space.from_codes(space.codes(arch)) == again


def test_the_application_is_the_released_network():
    entry = applications.builder.APPLICATIONS.get("autospace_340m")
    assert entry.get_arch().id == net_340m().id


def test_net_files_are_read_back(tmp_path):
    for name in ("autospace_proxyless@32", "proxyless_mbconv@32"):
        arch = spaces.get(name).sample(3)
        value = autospace_files.net_to_json(arch, "mine")
        artifacts.write_json(tmp_path / "net.json", value)
        assert autospace_files.read_net(tmp_path / "net.json").id == arch.id


def test_our_file_of_the_network_is_written_as_it_is_read():
    value = artifacts.read_json(NET_340M)
    ours = autospace_files.net_to_json(net_340m(), value["name"])
    for field in ("input", "bn", "act", "cell_fields", "layers"):
        assert ours[field] == value[field]


def test_candidates_are_the_cells_of_the_position_two_mbconvs_and_skips():
    space, positions = spaces.get("autospace_proxyless"), released().positions
    residual = 0
    for place, words in zip(space.spec.places, space.words, strict=True):
        unlike = {str(cells.fuse(c)) for c in positions[place.position]}
        expected = unlike | {"mbconv_k3_e3", "mbconv_k3_e6"}
        if place.stride == 1 and place.in_channels == place.out_channels:
            expected.add("skip")
            residual += 1
        assert set(words) == expected
        assert len(words) == len(expected)
    assert residual == 15
    assert sorted(map(len, space.words))[:1] == [10]  # a duplicate, block 13


def test_the_hand_made_space_is_that_of_proxylessnas():
    space = spaces.get("proxyless_mbconv")
    expected = [f"mbconv_k{k}_e{e}" for k in (3, 5, 7) for e in (3, 6)]
    for words in space.words:
        assert [w for w in words if w != "skip"] == expected
    assert {b.attrs["norm"]["eps"] for b in space.stem()} == {1e-3}


def test_the_chain_is_the_published_one():
    assert [p.out_channels for p in SPEC.places] == WIDTHS
    assert tuple(p.number for p in SPEC.places if p.stride == 2) == HALVED
    assert SPEC.positions == (
        *[(2 * i + 1, 2 * i + 2) for i in range(10)], (21,)
    )


@pytest.mark.parametrize(
    "width, head, expected",
    [
        (1.4, None, (48, 24, 32, 56, 112, 136, 272, 448, 1792)),
        (1.4, 1280, (48, 24, 32, 56, 112, 136, 272, 448, 1280)),
        (0.5, None, (16, 8, 16, 24, 40, 48, 96, 160, 1280)),
    ],
)
def test_widths_stay_multiples_of_eight(width, head, expected):
    spec = SPEC.widened(width, head)
    widths = tuple(w for w, _, _ in spec.stages)
    assert (spec.stem, spec.fixed, *widths, spec.head) == expected


@pytest.mark.parametrize("name", ["autospace@32", "autospace_proxyless@32"])
def test_members_stay_inside_and_are_written_as_text(name):
    space = spaces.get(name)
    arch = space.sample(0)
    assert space.sample(0) == arch != space.sample(1)
    for seed in range(30):
        near = space.random_neighbor(arch, seed)
        assert near.id != arch.id and space.contains(near)
        assert space.decode(space.encode(near)) == near
        arch = near


def test_a_neighbor_changes_one_position_of_a_cell_space():
    space = spaces.get("autospace@32")
    arch = space.sample(0)
    for seed in range(20):
        pairs = zip(
            space.to_cells(arch),
            space.to_cells(space.random_neighbor(arch, seed)), strict=True,
        )
        assert sum(a != b for a, b in pairs) == 1


def test_networks_hold_fused_cells_and_texts_the_cells_before():
    space = chain_nets.cell_space()
    arch = space.decode("2.0.0.5.1.5.1.1.5|0.0.0.5.1.5.1.5.2")
    assert [b.attrs["cell"] for b in arch.blocks[2:-2]] == [
        "2.0.0.9.1.2.1.1.2", "2.0.0.9.1.2.1.1.2", "0.0.0.7.1.2.1.5.2",
    ]
    assert space.encode(arch) == "2.0.0.5.1.5.1.1.5|0.0.0.5.1.5.1.5.2"


@pytest.mark.parametrize(
    "text, problem",
    [
        ("2.0.0.5.1.5.1.1.5", "2 positions"),
        ("2.0.0.5.1.5.1.1.5|2.0.0.5.1.4.1.1.5", "position 1: .*e12=4"),
        ("2.0.0.5.1.5.1.1.5|2.0.0.9.1.2.1.1.2", "position 1: .*before fusion"),
        ("2.0.0.5.1.3.1.1.5|0.0.0.5.1.2.1.1.2", "position 0: .*dim 2"),
    ],
)
def test_texts_of_no_cells_are_refused(text, problem):
    with pytest.raises(ArtifactError, match=problem):
        chain_nets.cell_space().decode(text)


@pytest.mark.parametrize(
    "text, problem",
    [
        ("skip|skip", "3 blocks"),
        ("skip|skip|skip", "block 3 .*cannot be skipped"),
        ("skip|pool|mbconv_k3_e6", "block 2: expected .*'pool'"),
        ("skip|0.0.0.5.1.4.1.1.2|mbconv_k3_e6", "block 2: .*e12=4"),
        ("skip|mbconv_k4_e6|mbconv_k3_e6", "attribute `k`"),
    ],
)
def test_texts_of_no_candidates_are_refused(text, problem):
    with pytest.raises(ArtifactError, match=problem):
        chain_nets.candidate_space().decode(text)


def test_a_network_outside_is_read_but_not_named():
    space = chain_nets.candidate_space()
    arch = space.decode("mbconv_k7_e6|skip|0.0.0.5.1.2.1.1.2")
    assert arch.space is None and not space.contains(arch)
    assert space.encode(arch) == "mbconv_k7_e6|skip|0.0.0.5.1.2.1.1.2"
    assert tfnas.count(arch).params > 0


def test_what_a_text_cannot_express_is_not_written():
    space = chain_nets.candidate_space()
    arch = space.sample(0)
    block = arch.blocks[4]
    blocks = (
        *arch.blocks[:4],
        Block(
            block.op, block.in_channels, block.out_channels, block.stride,
            block.stage, {**block.attrs, "act": "relu"},
        ),
        *arch.blocks[5:],
    )
    with pytest.raises(ArtifactError, match="everything else must be"):
        space.encode(dataclasses.replace(arch, blocks=blocks))


def test_where_a_skip_stands_is_no_matter():
    words = [("mbconv_k3_e3",)] * 3
    space = chain_nets.candidate_space(words)
    first, second = (0, 1, 0), (1, 0, 0)
    assert space.from_codes(first).id != space.from_codes(second).id
    assert space.equivalence(first) == space.equivalence(second)
    assert space.equivalence(first) != space.equivalence((0, 0, 0))


def file_value(**changes):
    spec, path = CHAINS["@32"]
    return {**artifacts.read_json(path), **changes}


def damaged(change):
    value = json.loads(json.dumps(file_value()))
    change(value)
    return value


def set_cell(value, cell):
    value["positions"][2]["cells"][1] = cell


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda v: v.update(format="tfnas-autospace-space/2"), "format"),
        (lambda v: v["positions"].pop(1), r"missing=\[1\]"),
        (lambda v: v["positions"].append(v["positions"][0]), "5 entries"),
        (lambda v: v.pop("positions"), "field `positions`"),
        (lambda v: v["positions"][3].update(blocks=[8]), "n 3: .*blocks"),
        (lambda v: v["positions"][0].update(cells=[]), "position 0: .*cells"),
        (lambda v: set_cell(v, [1, 0, 0, 5]), r"n 2, cells\[1\]: .*codes"),
        (lambda v: set_cell(v, [1, 0, 0, 5, 6, 5, 1, 1, 5]), "e02=6"),
        (lambda v: set_cell(v, [2, 0, 0, 9, 1, 2, 1, 1, 2]), "not fused"),
        (lambda v: set_cell(v, "1.0.0.5.8.5.1.1.5"), "e02=8"),
        (lambda v: v["macro"][4].update(cout=48),
         r"macro\[4\]` must be .*'cout': 40"),
        (lambda v: v["macro"].pop(), "`macro` must be .* of 7 .*Received: 6"),
        (lambda v: v.update(dim_to_expand=[1, 4, 6]), "dim_to_expand"),
        (lambda v: v.update(merge="sum"), "field `merge`"),
    ],
)
def test_damaged_space_files_are_refused_with_the_entry(
    change, problem, tmp_path
):
    path = tmp_path / "space.json"
    artifacts.write_json(path, damaged(change))
    with pytest.raises(ArtifactError, match=f"space.json.*{problem}"):
        spaces.get(f"autospace_proxyless@32:{path}")


def test_a_space_of_another_chain_is_refused():
    with pytest.raises(ArtifactError, match="a list of 7 places.*Received: 21"):
        from_file("mine", SPEC_32, CHAINS[""][1])


def test_a_space_file_may_hold_duplicates_and_matrices(tmp_path):
    value = file_value()
    matrix = [[0, 0, 0, 1], [2, 0, 0, [0, 1]], [5, 5, 0, 0], [1, 2, 5, 0]]
    value["positions"][0]["cells"] = [matrix, list(cells.decode(matrix).codes)]
    value["merge"], value["large_kernel"] = "hadamard", "dilated"
    path = tmp_path / "space.json"
    artifacts.write_json(path, value)
    space = spaces.get(f"autospace_proxyless@32:{path}")
    assert space.words[0] == [
        "1.0.1.2.5.5.1.2.5", "mbconv_k3_e3", "mbconv_k3_e6"
    ]
    block = space.candidates[0][0]
    assert block.attrs["merge"] == "hadamard"
    assert block.attrs["large_kernel"] == "dilated"
    assert space.sample(0).space == space.name


def test_learned_spaces_are_read_back(tmp_path):
    file = autospace_files.SpaceFile(
        tuple(tuple(cells.REFERENCES.values()) for _ in SPEC_32.positions),
        merge="hadamard",
    )
    path = tmp_path / "space.json"
    artifacts.write_json(path, file.to_json(SPEC_32.places))
    assert autospace_files.read_space(path, SPEC_32.places) == file


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda v: v.update(format="x"), "format"),
        (lambda v: v["layers"][2].update(kind="pool"), r"layers\[2\]"),
        (lambda v: v["layers"][2].pop("expand"), r"layers\[2\].*expand"),
        (lambda v: v["layers"][3].update(block=7), r"layers\[3\].block` .* 2"),
        (lambda v: v["layers"][2].update(cell=[1, 2]), r"layers\[2\]: .*cell"),
        (lambda v: v["layers"][2].update(cin=17), r"blocks\[2\]"),
        (lambda v: v.update(bn={}), "bn"),
        (lambda v: v.update(layers=[]), "layers"),
    ],
)
def test_damaged_net_files_are_refused_with_the_entry(
    change, problem, tmp_path
):
    value = artifacts.read_json(NET_340M)
    change(value)
    path = tmp_path / "net.json"
    artifacts.write_json(path, value)
    with pytest.raises(ArtifactError, match=f"net.json.*{problem}"):
        autospace_files.read_net(path)


def test_only_some_spaces_take_a_file():
    with pytest.raises(ConfigError, match="autospace_proxyless@32. Received"):
        spaces.get("densenas_mbv2:space.json")


def test_images_too_small_for_the_strides_are_refused():
    with pytest.raises(ConfigError, match="at least 32 x 32 pixels"):
        spaces.get("proxyless_mbconv", input_shape=(31, 64, 3))
    small = spaces.get("proxyless_mbconv", input_shape=(33, 64, 3))
    assert small.shapes[-1] == (2, 2, 320)
    assert tfnas.ops.shapes(small.sample(0))[-3] == small.shapes[-1]
