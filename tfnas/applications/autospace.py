"""The AutoSpace network whose description the authors released.

Reference: Zhou et al., "AutoSpace: Neural Architecture Search with Less Human
Interference", ICCV 2021.

| network        | parameters | multiply-adds | top-1 (the authors') |
|----------------|-----------:|--------------:|---------------------:|
| AutoSpace-340M |  4,507,920 |   336,336,512 |               75.3 % |

Counts are ours, at 224 px and 1000 classes; the paper gives 4.3M and 340M.
What it does not say was inferred (see `ops.cell`), so that weights of the
authors, should they be released, may not fit. Images are normalised with the
mean and the deviation of ImageNet (`preprocess_input`).
"""

from __future__ import annotations

import functools

from tfnas.applications import builder
from tfnas.applications import entry
from tfnas.applications import images

_NAME = "autospace_340m"
# Blocks 1 to 21, as `spaces/data/autospace_net_340m.json` has them.
_TEXT = (
    "2.0.0.5.1.2.1.1.2|mbconv_k3_e6|skip|skip|"
    "1.1.0.7.5.2.1.5.5|2.1.0.2.5.2.1.2.2|mbconv_k3_e3|skip|"
    "2.0.0.5.5.2.1.5.5|1.0.0.2.5.5.1.2.5|2.0.0.5.1.2.1.1.2|skip|"
    "2.0.0.7.5.2.1.2.5|2.0.0.5.1.2.1.1.2|skip|skip|"
    "2.0.0.7.5.2.1.5.2|2.0.0.9.1.2.1.1.2|2.0.0.9.1.2.1.1.2|"
    "2.0.0.9.1.2.1.1.2|2.0.0.9.1.2.1.1.2"
)
entry.add(
    entry.Application(
        _NAME, "autospace_proxyless", _TEXT, mean=entry.IMAGENET_MEAN,
        std=entry.IMAGENET_STD, top1=75.3, function="AutoSpace340M",
    )
)

AutoSpace340M = builder.constructor(
    _NAME, "AutoSpace340M",
    "AutoSpace-340M: 336M multiply-adds, 75.3 % top-1 (the authors').",
)
preprocess_input = functools.partial(images.preprocess_input, name=_NAME)
decode_predictions = images.decode_predictions
