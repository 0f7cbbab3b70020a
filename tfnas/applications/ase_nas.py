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

from tfnas.applications import builder
from tfnas.applications import entry
from tfnas.applications import images
from tfnas.spaces import elastic_specs

for _name, _function, _top1, _codes in (
    ("ase_nas", "ASENAS", 79.9, elastic_specs.ASE_NAS),
    ("ase_nas_plus", "ASENASPlus", 80.2, elastic_specs.ASE_NAS_PLUS),
):
    entry.add(
        entry.Application(
            _name, "mobilenetv3", _codes, mean=entry.IMAGENET_MEAN,
            std=entry.IMAGENET_STD, top1=_top1, function=_function,
        )
    )

ASENAS = builder.constructor(
    "ase_nas", "ASENAS",
    "ASE-NAS: 588M multiply-adds, 79.9 % top-1 (the authors').",
)
ASENASPlus = builder.constructor(
    "ase_nas_plus", "ASENASPlus",
    "ASE-NAS+: 583M multiply-adds, 80.2 % top-1 (the authors').",
)
preprocess_input = functools.partial(images.preprocess_input, name="ase_nas")
decode_predictions = images.decode_predictions
