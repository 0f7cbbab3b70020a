"""Networks that the authors of the algorithms published, with their counts.

`NETS` are those of DenseNAS, `ELASTIC_NETS` those of ASE-NAS.
"""

from typing import NamedTuple


class PublishedNet(NamedTuple):
    """A network in text form and what it costs with 1000 classes.

    Args:
        space: Name of the search space that reads the text.
        text: The network in the published encoding of the space.
        params: Trainable parameters.
        madds: Multiply-adds at 224 px.
        madds_at_96: The same at 96 px, if known.
    """

    space: str
    text: str
    params: int
    madds: int
    madds_at_96: int | None = None


A = PublishedNet(
    "densenas_mbv2",
    """[[16, 16], 'mbconv_k3_t1', [], 0, 1]|
    [[16, 24], 'mbconv_k3_t3', [], 0, 2]|
    [[24, 48], 'mbconv_k7_t6', ['mbconv_k7_t3'], 1, 2]|
    [[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]|
    [[72, 128], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 1]|
    [[128, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t3',
    'mbconv_k3_t6'], 3, 2]|
    [[176, 384], 'mbconv_k5_t6', [], 0, 1]|[[384, 1984], 'conv1_1']""",
    4_767_920,
    251_334_416,
    47_783_056,
)
B = PublishedNet(
    "densenas_mbv2",
    """[[16, 16], 'mbconv_k3_t1', [], 0, 1]|
    [[16, 24], 'mbconv_k3_t6', [], 0, 2]|
    [[24, 48], 'mbconv_k5_t3', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 2]|
    [[48, 72], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]|
    [[72, 128], 'mbconv_k3_t6', ['mbconv_k3_t3'], 1, 1]|
    [[128, 160], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k5_t6',
    'mbconv_k5_t3'], 3, 2]|
    [[160, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t6'], 2, 1]|
    [[176, 384], 'mbconv_k7_t6', [], 0, 1]|[[384, 1984], 'conv1_1']""",
    5_584_080,
    313_580_096,
    59_215_936,
)
C = PublishedNet(
    "densenas_mbv2",
    """[[16, 16], 'mbconv_k3_t1', [], 0, 1]|
    [[16, 24], 'mbconv_k3_t6', [], 0, 2]|
    [[24, 48], 'mbconv_k7_t6', ['mbconv_k3_t3'], 1, 2]|
    [[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t6', 'mbconv_k3_t3'], 2, 2]|
    [[72, 128], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 1]|
    [[128, 160], 'mbconv_k3_t6', ['mbconv_k7_t3', 'mbconv_k5_t6',
    'mbconv_k7_t3'], 3, 2]|
    [[160, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t6',
    'mbconv_k3_t6'], 3, 1]|
    [[176, 384], 'mbconv_k7_t6', [], 0, 1]|[[384, 1984], 'conv1_1']""",
    6_134_144,
    360_808_256,
    67_890_496,
)
# Of the first revision of the paper, which had another space.
FIRST_A = PublishedNet(
    "densenas_mbv2",
    """[[16, 16], 'mbconv_k3_t1', [], 0, 1]|
    [[16, 24], 'mbconv_k5_t3', ['mbconv_k5_t3', 'mbconv_k3_t3',
    'mbconv_k3_t3'], 3, 2]|
    [[24, 48], 'mbconv_k5_t6', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 2]|
    [[48, 80], 'mbconv_k7_t6', ['mbconv_k7_t3', 'mbconv_k5_t6',
    'mbconv_k5_t3'], 3, 2]|
    [[80, 112], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 1]|
    [[112, 160], 'mbconv_k5_t6', ['mbconv_k5_t6', 'mbconv_k7_t3'], 2, 2]|
    [[160, 352], 'mbconv_k3_t6', ['mbconv_k3_t3'], 1, 1]|
    [[352, 416], 'mbconv_k3_t6', [], 0, 1]|
    [[416, 480], 'mbconv_k3_t3', [], 0, 1]|[[480, 1728], 'conv1_1']""",
    7_890_752,
    501_390_016,
    93_502_656,
)
FIRST_B = PublishedNet(
    "densenas_mbv2",
    """[[16, 16], 'mbconv_k3_t1', [], 0, 1]|
    [[16, 24], 'mbconv_k5_t3', ['mbconv_k5_t3', 'mbconv_k3_t3',
    'mbconv_k3_t3'], 3, 2]|
    [[24, 48], 'mbconv_k5_t6', ['mbconv_k3_t3'], 1, 2]|
    [[48, 80], 'mbconv_k5_t6', ['mbconv_k7_t3', 'mbconv_k3_t3',
    'mbconv_k3_t3'], 3, 2]|
    [[80, 112], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 1]|
    [[112, 160], 'mbconv_k7_t6', ['mbconv_k5_t6', 'mbconv_k7_t3'], 2, 2]|
    [[160, 352], 'mbconv_k3_t6', ['mbconv_k3_t3'], 1, 1]|
    [[352, 416], 'mbconv_k3_t3', [], 0, 1]|
    [[416, 480], 'mbconv_k3_t3', [], 0, 1]|[[480, 1728], 'conv1_1']""",
    6_877_344,
    413_759_200,
    77_407_200,
)
FIRST_C = PublishedNet(
    "densenas_mbv2",
    """[[16, 16], 'mbconv_k3_t1', [], 0, 1]|
    [[16, 24], 'mbconv_k5_t3', ['mbconv_k5_t3', 'mbconv_k3_t3'], 2, 2]|
    [[24, 48], 'mbconv_k5_t6', [], 0, 2]|
    [[48, 80], 'mbconv_k5_t6', ['mbconv_k7_t3', 'mbconv_k5_t3',
    'mbconv_k3_t3'], 3, 2]|
    [[80, 112], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 1]|
    [[112, 160], 'mbconv_k7_t6', ['mbconv_k7_t3', 'mbconv_k7_t3'], 2, 2]|
    [[160, 352], 'mbconv_k5_t6', ['mbconv_k3_t3'], 1, 1]|
    [[352, 416], 'mbconv_k3_t3', [], 0, 1]|
    [[416, 480], 'mbconv_k3_t3', [], 0, 1]|[[480, 1728], 'conv1_1']""",
    6_720_312,
    382_990_336,
    71_755_776,
)
# Found by a user of the release with its ResNet search.
USER_RESNET = PublishedNet(
    "densenas_resnet",
    """[[32, 56], 'basic_block', [], 0, 2]|[[56, 96], 'basic_block', [], 0, 2]|
    [[96, 176], 'basic_block', [], 0, 2]|
    [[176, 208], 'basic_block', ['basic_block'], 1, 1]|
    [[208, 272], 'basic_block', [], 0, 2]|
    [[272, 512], 'basic_block', [], 0, 1]""",
    7_671_032,
    895_890_176,
)

NETS = {
    "A": A,
    "B": B,
    "C": C,
    "first_A": FIRST_A,
    "first_B": FIRST_B,
    "first_C": FIRST_C,
    "user_resnet": USER_RESNET,
}

# Depths, kernels, expansions. Published are the multiply-adds without the
# classifier, 586.32M and 581.78M.
ASE_NAS = PublishedNet(
    "mobilenetv3",
    "3,3,3,4,4:"
    "5,5,7,0,5,5,7,0,5,7,5,0,5,5,5,7,5,7,7,7:"
    "6,6,3,0,6,4,6,0,6,6,6,0,6,6,6,4,6,6,4,4",
    8_939_576,
    587_856_560,
)
ASE_NAS_PLUS = PublishedNet(
    "mobilenetv3",
    "4,4,3,4,4:"
    "3,5,5,5,7,7,3,7,5,3,7,0,5,5,7,7,3,5,5,3:"
    "6,6,3,3,3,6,3,6,6,3,6,0,6,3,6,4,6,6,4,6",
    8_996_552,
    583_320_272,
)
# The widest and deepest network. The published supernet, 10,715,752, has
# further matrices of 25 x 25 and 9 x 9 in each of 20 layers, which turn
# kernels into smaller ones.
LARGEST_ELASTIC = PublishedNet(
    "mobilenetv3",
    ":".join(",".join([x] * n) for x, n in (("4", 5), ("7", 20), ("6", 20))),
    10_715_752 - 20 * (25**2 + 9**2),
    843_101_040,
)
ELASTIC_NETS = {
    "ase_nas": ASE_NAS,
    "ase_nas_plus": ASE_NAS_PLUS,
    "largest_elastic": LARGEST_ELASTIC,
}
