"""net_config text is read as a literal, and what is wrong is named by row."""

import pytest

from tests.published_nets import NETS
from tests.published_nets import A
from tfnas import spaces
from tfnas.errors import ArtifactError
from tfnas.spaces import net_config

FIRST = "[[16, 16], 'mbconv_k3_t1', [], 0, 1]"
LAST = "[[16, 1984], 'conv1_1']"


def _decode(text, space="densenas_mbv2"):
    return spaces.get(space).decode(text)


def _squeezed(text):
    return "".join(text.split())


@pytest.mark.parametrize("name", NETS)
def test_published_text_comes_back_the_same(name):
    space = spaces.get(NETS[name].space)
    again = space.encode(space.decode(NETS[name].text))
    assert _squeezed(again) == _squeezed(NETS[name].text)


def test_rows_become_blocks_in_order():
    net_type, rows = net_config.parse(A.text)
    assert net_type == "mbv2"
    assert len(rows) == 8
    assert rows[3] == net_config.Row(
        48, 72, "mbconv_k5_t6", ("mbconv_k3_t3", "mbconv_k5_t3"), 2
    )
    blocks = [b for b in _decode(A.text).blocks if b.stage == 4]
    assert [(b.in_channels, b.out_channels, b.stride) for b in blocks] == [
        (48, 72, 2),
        (72, 72, 1),
        (72, 72, 1),
    ]
    assert [(b.attrs["k"], b.attrs["e"]) for b in blocks] == [
        (5, 6),
        (3, 3),
        (5, 3),
    ]


def test_a_derived_net_is_stem_rows_and_classifier():
    mbv2 = _decode(A.text)
    stem, tail, classifier = mbv2.blocks[0], *mbv2.blocks[-2:]
    assert (stem.op, stem.attrs["k"], stem.stride) == ("conv", 3, 2)
    assert (stem.in_channels, stem.out_channels) == (3, 16)
    assert (tail.op, tail.attrs["k"], tail.out_channels) == ("conv", 1, 1984)
    assert (classifier.op, classifier.out_channels) == ("classifier", 1000)

    text = NETS["user_resnet"].text
    resnet = _decode(text, "densenas_resnet")
    assert resnet.blocks[0].attrs["act"] == "relu6"  # the supernet has relu
    assert [b.op for b in resnet.blocks[1:]] == ["basic"] * 7 + ["classifier"]


@pytest.mark.parametrize(
    "ending", ["\nnet_type: mbv2\n", "\nnet_type:mbv2", "\n\nnet_type: mbv2 "]
)
def test_a_file_may_state_its_net_type(ending):
    assert _decode(A.text + ending) == _decode(A.text)


def test_the_stated_number_of_layers_is_only_informative():
    assert _decode(A.text.replace("3, 2]", "99, 2]")) == _decode(A.text)


def test_code_is_never_run(tmp_path):
    made = tmp_path / "made"
    code = f"__import__('os').mkdir({str(made)!r})"
    for text in (code, f"[[16, 16], {code}, [], 0, 1]", f"{FIRST}|{code}"):
        with pytest.raises(ArtifactError, match="a Python literal"):
            _decode(text)
    assert not made.exists()


@pytest.mark.parametrize(
    "row, problem",
    [
        ("", "a Python literal"),
        ("[[16, 24], 'mbconv_k3_t3', [], 0, 2", "a Python literal"),
        ("[[16, w], 'mbconv_k3_t3', [], 0, 2]", "a Python literal"),
        ("{[]: 1}", "a Python literal"),
        ("\0", "a Python literal"),
        ("[" * 5000, "a Python literal"),
        ("-" * 50000 + "1", "a Python literal"),
        ("9" * 5000, "a Python literal"),
        ("7", "a list of 5 values"),
        ("[[16, 24], 'mbconv_k3_t3', [], 0]", "a list of 5 values"),
        ("[[16, 24], 'mbconv_k3_t3', [], 0, 2, 2]", "a list of 5 values"),
        ("[[16], 'mbconv_k3_t3', [], 0, 2]", "in_channels, out_channels"),
        ("[[16, 0], 'mbconv_k3_t3', [], 0, 2]", "in_channels, out_channels"),
        ("[[16, 1e3], 'mbconv_k3_t3', [], 0, 2]", "in_channels, out_channels"),
        ("[[16, True], 'mbconv_k3_t3', [], 0, 2]", "in_channels, out_channel"),
        ("[[16, 24], 'mbconv_k3', [], 0, 2]", "the name of an op"),
        ("[[16, 24], 'conv1_1', [], 0, 2]", "the name of an op"),
        ("[[16, 24], None, [], 0, 2]", "the name of an op"),
        ("[[16, 24], 'mbconv_k3_t3', ['x'], 1, 2]", "the name of an op"),
        ("[[16, 24], 'mbconv_k3_t3', 'skip_connect', 1, 2]", "a list of stack"),
        ("[[16, 24], 'mbconv_k3_t3', [], 0, 3]", "stride 1 or 2"),
        ("[[16, 24], 'mbconv_k3_t3', [], 2, []]", "stride 1 or 2"),
        ("[[16, 24], 'mbconv_k3_t3', [], 0, True]", "stride 1 or 2"),
        ("[[16, 24], 'conv2_2']", "'conv1_1' in the last row"),
        ("[[24, 24], 'mbconv_k3_t3', [], 0, 2]", "in_channels 16"),
        ("[[16, 24], 'mbconv_k4_t3', [], 0, 2]", "attribute `k`"),
        ("[[16, 24], 'mbconv_k3_t99', [], 0, 2]", "attribute `e`"),
        ("[[16, 24], 'skip_connect', [], 0, 1]", "keeps its input's width"),
        ("[[16, 16], 'skip_connect', [], 0, 2]", "stride=2"),
        ("[[16, 16], 'mbconv_k3_t3', ['bottle_neck'], 0, 1]", "takes (height"),
    ],
)
def test_a_wrong_row_is_named(row, problem):
    tail = "[[24, 1984], 'conv1_1']" if "24]" in row else LAST
    with pytest.raises(ArtifactError) as error:
        _decode(f"{FIRST}|{row}|{tail}")
    assert str(error.value).startswith("net_config row 1: ")
    assert problem in str(error.value)
    assert len(str(error.value)) < 500


def test_a_tail_in_the_middle_is_refused():
    middle = "[[16, 24], 'conv1_1']|[[24, 1984], 'conv1_1']"
    with pytest.raises(ArtifactError, match="in the last row only"):
        _decode(f"{FIRST}|{middle}")


def test_huge_text_is_refused_unread():
    with pytest.raises(ArtifactError, match="at most 65536 characters"):
        _decode(FIRST + "|" * (1 << 24))


@pytest.mark.parametrize("stated", ["res", "mbv1", ""])
def test_a_contradicting_net_type_is_refused(stated):
    with pytest.raises(ArtifactError, match="expected `net_type: mbv2`"):
        _decode(f"{A.text}\nnet_type: {stated}")


def test_text_for_the_other_form_of_the_space_is_refused():
    with pytest.raises(ArtifactError, match="has net_type 'res'"):
        _decode(A.text, "densenas_resnet")
    with pytest.raises(ArtifactError, match="has net_type 'mbv2'"):
        _decode(NETS["user_resnet"].text)
    resnet = spaces.get("densenas_resnet").sample(0)
    with pytest.raises(ArtifactError, match="has net_type 'mbv2'"):
        spaces.get("densenas_mbv2").encode(resnet)
