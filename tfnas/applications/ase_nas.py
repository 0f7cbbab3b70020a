"""ASE-NAS networks in the elastic MobileNetV3 space, at width 1.2.

Reference: Chen et al., "Automatic Subspace Evoking for Efficient Neural
Architecture Search", arXiv 2210.17180.

| network  | parameters | multiply-adds | top-1 / top-5 (the authors') |
|----------|-----------:|--------------:|-----------------------------:|
| ASE-NAS  |  8,939,576 |        587.9M |                79.9 / 94.8 % |
| ASE-NAS+ |  8,996,552 |        583.3M |                80.2 / 94.9 % |

Counts are ours, at 224 px and 1000 classes. The paper gives 597M and 582M:
the encoding that the authors released for the first counts 586.3M in its
convolutions. Images are normalised with the mean and the deviation of
ImageNet (`preprocess_input`).
"""

from __future__ import annotations

import functools
from typing import Any

from tfnas.applications import builder
from tfnas.spaces import elastic_specs

for _name, _top1, _codes in (
    ("ase_nas", 79.9, elastic_specs.ASE_NAS),
    ("ase_nas_plus", 80.2, elastic_specs.ASE_NAS_PLUS),
):
    builder.APPLICATIONS.register(
        _name,
        builder.Application(
            _name, "mobilenetv3", _codes, mean=builder.IMAGENET_MEAN,
            std=builder.IMAGENET_STD, top1=_top1,
        ),
    )


def ASENAS(**arguments: Any) -> Any:
    """ASE-NAS: 588M multiply-adds. Args as `tfnas.applications.build`."""
    return builder.get("ase_nas", **arguments)


def ASENASPlus(**arguments: Any) -> Any:
    """ASE-NAS+: 583M multiply-adds. Args as `tfnas.applications.build`."""
    return builder.get("ase_nas_plus", **arguments)


preprocess_input = functools.partial(builder.preprocess_input, name="ase_nas")
decode_predictions = builder.decode_predictions
