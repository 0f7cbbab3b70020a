"""DenseNAS networks for phones.

Reference: Fang et al., "Densely Connected Search Space for More Flexible
Neural Architecture Search", CVPR 2020.

| network    | parameters | multiply-adds | top-1 (the authors') |
|------------|-----------:|--------------:|---------------------:|
| DenseNAS-A |  4,767,920 |   251,334,416 |               73.1 % |
| DenseNAS-B |  5,584,080 |   313,580,096 |               74.6 % |
| DenseNAS-C |  6,134,144 |   360,808,256 |               75.3 % |

Counts are ours, at 224 px and 1000 classes. Images are normalised with the
mean and the deviation of ImageNet (`preprocess_input`).
"""

from __future__ import annotations

import functools

from tfnas.applications import builder
from tfnas.applications import entry
from tfnas.applications import images

_SPACE = "densenas_mbv2"
_TEXTS = {
    "densenas_a": (
        73.1,
        "[[16, 16], 'mbconv_k3_t1', [], 0, 1]|"
        "[[16, 24], 'mbconv_k3_t3', [], 0, 2]|"
        "[[24, 48], 'mbconv_k7_t6', ['mbconv_k7_t3'], 1, 2]|"
        "[[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]|"
        "[[72, 128], 'mbconv_k3_t3', ['mbconv_k3_t3'], 1, 1]|"
        "[[128, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t3', "
        "'mbconv_k3_t6'], 3, 2]|"
        "[[176, 384], 'mbconv_k5_t6', [], 0, 1]|[[384, 1984], 'conv1_1']",
    ),
    "densenas_b": (
        74.6,
        "[[16, 16], 'mbconv_k3_t1', [], 0, 1]|"
        "[[16, 24], 'mbconv_k3_t6', [], 0, 2]|"
        "[[24, 48], 'mbconv_k5_t3', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, 2]|"
        "[[48, 72], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k5_t3'], 2, 2]|"
        "[[72, 128], 'mbconv_k3_t6', ['mbconv_k3_t3'], 1, 1]|"
        "[[128, 160], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k5_t6', "
        "'mbconv_k5_t3'], 3, 2]|"
        "[[160, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t6'], 2, "
        "1]|[[176, 384], 'mbconv_k7_t6', [], 0, 1]|[[384, 1984], 'conv1_1']",
    ),
    "densenas_c": (
        75.3,
        "[[16, 16], 'mbconv_k3_t1', [], 0, 1]|"
        "[[16, 24], 'mbconv_k3_t6', [], 0, 2]|"
        "[[24, 48], 'mbconv_k7_t6', ['mbconv_k3_t3'], 1, 2]|"
        "[[48, 72], 'mbconv_k5_t6', ['mbconv_k3_t6', 'mbconv_k3_t3'], 2, 2]|"
        "[[72, 128], 'mbconv_k3_t6', ['mbconv_k3_t3', 'mbconv_k3_t3'], 2, "
        "1]|[[128, 160], 'mbconv_k3_t6', ['mbconv_k7_t3', 'mbconv_k5_t6', "
        "'mbconv_k7_t3'], 3, 2]|"
        "[[160, 176], 'mbconv_k3_t3', ['mbconv_k3_t6', 'mbconv_k3_t6', "
        "'mbconv_k3_t6'], 3, 1]|"
        "[[176, 384], 'mbconv_k7_t6', [], 0, 1]|[[384, 1984], 'conv1_1']",
    ),
}
for _name, (_top1, _text) in _TEXTS.items():
    entry.add(
        entry.Application(
            _name, _SPACE, _text, mean=entry.IMAGENET_MEAN,
            std=entry.IMAGENET_STD, top1=_top1,
            function=f"DenseNAS{_name[-1].upper()}",
        )
    )

DenseNASA = builder.constructor(
    "densenas_a", "DenseNASA",
    "DenseNAS-A: 251M multiply-adds, 73.1 % top-1 (the authors').",
)
DenseNASB = builder.constructor(
    "densenas_b", "DenseNASB",
    "DenseNAS-B: 314M multiply-adds, 74.6 % top-1 (the authors').",
)
DenseNASC = builder.constructor(
    "densenas_c", "DenseNASC",
    "DenseNAS-C: 361M multiply-adds, 75.3 % top-1 (the authors').",
)
preprocess_input = functools.partial(images.preprocess_input, name="densenas_a")
decode_predictions = images.decode_predictions
