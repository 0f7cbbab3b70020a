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

from tfnas.applications import builder
from tfnas.applications import entry
from tfnas.applications import images
from tfnas.spaces.dag_specs import SHRINK_CNN

for _name, _function, _top1, _space in (
    ("shrink_cnn_a", "ShrinkCNNA", 73.9, "autoshrink_cnn"),
    ("shrink_cnn_b", "ShrinkCNNB", 75.1, "autoshrink_cnn_swish"),
):
    entry.add(
        entry.Application(
            _name, _space, SHRINK_CNN, top1=_top1, function=_function
        )
    )

ShrinkCNNA = builder.constructor(
    "shrink_cnn_a", "ShrinkCNNA",
    "ShrinkCNN-A, with relu: 384M multiply-adds, 73.9 % top-1 (the "
    "authors').",
)
ShrinkCNNB = builder.constructor(
    "shrink_cnn_b", "ShrinkCNNB",
    "ShrinkCNN-B, with swish: 384M multiply-adds, 75.1 % top-1 (the "
    "authors').",
)
preprocess_input = functools.partial(
    images.preprocess_input, name="shrink_cnn_a"
)
decode_predictions = images.decode_predictions
