"""The chains that AutoSpace's spaces fill.

Source: Zhou et al., "AutoSpace", ICCV 2021, on the backbone of ProxylessNAS
(Cai et al., ICLR 2019). The chain scaled to 32 px is ours.
"""

from __future__ import annotations

import pathlib

from tfnas.spaces.chain import ChainSpec

DATA = pathlib.Path(__file__).parent / "data"
# Batch normalisation of the authors' networks; ProxylessNAS has eps 1e-3.
NORM = {"eps": 0.006, "momentum": 0.9, "affine": True}
NORM_PROXYLESS = {**NORM, "eps": 1e-3}
SPEC = ChainSpec(
    input_size=224,
    classes=1000,
    stem=32,
    stem_stride=2,
    fixed=16,
    stages=(
        (24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2),
        (320, 1, 1),
    ),
    head=1280,
    norm=NORM,
)
SPEC_32 = ChainSpec(
    input_size=32,
    classes=10,
    stem=8,
    stem_stride=1,
    fixed=8,
    stages=((16, 2, 2), (24, 2, 2), (40, 2, 2), (64, 1, 1)),
    head=128,
    norm=NORM,
)
# Suffix of a space's name to its chain and the learned space that ships.
CHAINS = {
    "": (SPEC, DATA / "autospace_space.json"),
    "@32": (SPEC_32, DATA / "autospace_space_32.json"),
}
NET_340M = DATA / "autospace_net_340m.json"  # as published
