"""ShrinkCNN: networks of one repeated cell that AutoShrink found.

Reference: Zhang et al., "AutoShrink: A Topology-Aware NAS for Discovering
Efficient Neural Architecture", AAAI 2020.

| network             | parameters | multiply-adds | top-1 (the authors') |
|---------------------|-----------:|--------------:|---------------------:|
| ShrinkCNN-A (relu)  |  3,636,301 |   383,677,672 |               73.9 % |
| ShrinkCNN-B (swish) |  3,636,301 |   383,677,672 |               75.1 % |

Counts are ours, at 224 px and 1001 classes; class 0 is an empty background
class. Without batch normalisation, as the paper counts, there are 3,600,981
parameters. Images are in -1..1 (`preprocess_input`).
"""

from __future__ import annotations

import functools
from typing import Any

from tfnas.applications import builder
from tfnas.spaces.dag_specs import SHRINK_CNN

for _name, _top1, _space in (
    ("shrink_cnn_a", 73.9, "autoshrink_cnn"),
    ("shrink_cnn_b", 75.1, "autoshrink_cnn_swish"),
):
    builder.APPLICATIONS.register(
        _name, builder.Application(_name, _space, SHRINK_CNN, top1=_top1)
    )


def ShrinkCNNA(**arguments: Any) -> Any:
    """ShrinkCNN-A, with relu. Args as `tfnas.applications.build`."""
    return builder.get("shrink_cnn_a", **arguments)


def ShrinkCNNB(**arguments: Any) -> Any:
    """ShrinkCNN-B, with swish. Args as `tfnas.applications.build`."""
    return builder.get("shrink_cnn_b", **arguments)


preprocess_input = functools.partial(
    builder.preprocess_input, name="shrink_cnn_a"
)
decode_predictions = builder.decode_predictions
