"""ASE-NAS on the elastic MobileNetV3 space (Chen et al., arXiv 2210.17180).

Command, on ImageNet in class folders, at most 600M multiply-adds:
    tfnas-search --config=configs/ase_nas_mobilenetv3.py \\
        --workdir=runs/ase_nas --config.data.name=folder:imagenet
or, with a table of your device, at most 30 ms:
    tfnas-search --config=configs/ase_nas_mobilenetv3.py \\
        --workdir=runs/ase_nas --config.data.name=folder:imagenet \\
        --lut=phone.json --config.max_latency_ms=30
Trains the supernet as Once-for-All does, scores 2,000 random subnets, trains
a predictor on them and searches with it (`--config.search.evaluator=supernet`
scores every candidate itself). A search that was killed goes on.
Expected: the authors report 79.9 % top-1 at 586M multiply-adds, and 80.2 %
for ASE-NAS+ (we have not run ImageNet here).
Time: 500 epochs of ImageNet for the supernet; weeks on one GPU.

Variant `local` (digits, the space scaled to 32 px, shown at 16 px):
    tfnas-search --config=configs/ase_nas_mobilenetv3.py:local \\
        --workdir=runs/ase_nas
Expected: a network of at most 1.5M multiply-adds and random ones beside it.
Time: under 5 minutes on 2 CPU cores.
"""

from typing import Any

from ml_collections import config_dict
from tfnas.configs import _base
from tfnas.configs import ase_nas

from tfnas.search.ase_nas_options import Options
from tfnas.search.ase_nas_options import PolicyOptions

KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` (as published) or `local`.
    """
    search = {
        "queries": 1010,  # 10 centres and 1000 updates of the policy
        "unit_queries": 101,  # between two checkpoints
        "top_archs": 10,
        "split": 0.99,  # share of the training images for the weights
        "evaluator": "predictor",  # or "supernet"
        "supernet": _supernet(),
        "predictor": {
            "path": _base.null(str),  # null: learn one
            "pairs": 2000,  # networks scored for it
            "unit_pairs": 50,  # between two checkpoints
            "min_tau": 0.5,  # a worse one is refused
            "dropout": 0.3, "epochs": 200, "batch_size": 256, "lr": 0.1,
        },
        # ASE-NAS+: centres to start from, as codes or from a workdir.
        "initial": (), "transfer": _base.null(str),
        "subspaces": _base.section_of(
            Options(centres=10, exploration=0.0)
        ),
        "policy": _base.section_of(PolicyOptions(edits=2, one_hot_width=10)),
    }
    config = _base.search(
        "ase_nas",
        "mobilenetv3",  # or mobilenetv3_resolution, with 256 px
        search, **_base.limits(max_madds=600e6), run=_base.run(),
        train=ase_nas.get_config(variant).train,
    )
    if variant == "local":
        _make_local(config)
    return config


def _supernet() -> dict[str, Any]:
    """The schedule of Once-for-All, for a batch of 64 on each device."""
    shrunk = {"kernels": KERNELS, "subnets": 2}
    narrow = {"kernels": KERNELS, "depths": DEPTHS, "subnets": 4}
    return {
        "batch_size": 64,  # over all devices: multiply rates with it
        "augment": "resized_crop+flip",
        "label_smoothing": 0.1,  # shared by the wrong classes
        "momentum": 0.9, "nesterov": True, "weight_decay": 3e-5,
        "bn_groups": 1,
        # What subnets learn from beside the labels: "none", "teacher" (the
        # largest network after the first phase), "in_place" (the largest one
        # of the step's sandwich, in place of the labels).
        "distill": "teacher", "distill_weight": 1.0,
        "calibration_images": 2000,  # for a subnet's statistics
        "calibration_batch": 100, "score_batch": 200,
        "phases": ("full", "kernel", "depth1", "depth2", "expand1", "expand2"),
        "full": _phase(180, 0.08, 5),
        "kernel": _phase(120, 3e-2, 5, kernels=KERNELS),
        "depth1": _phase(25, 2.5e-3, depths=(3, 4), **shrunk),
        "depth2": _phase(120, 7.5e-3, 5, depths=DEPTHS, **shrunk),
        "expand1": _phase(25, 2.5e-3, expansions=(4, 6), **narrow),
        "expand2": _phase(120, 7.5e-3, 5, expansions=EXPANSIONS, **narrow),
    }


def _phase(
    epochs: int, lr: float, warmup_epochs: int = 0, subnets: int = 1,
    sandwich: bool = False, kernels: tuple[int, ...] = (7,),
    depths: tuple[int, ...] = (4,), expansions: tuple[int, ...] = (6,),
) -> dict[str, Any]:
    """A phase: what its steps draw, and for how long.

    Args:
        epochs: Length.
        lr: Rate of its first step; a cosine takes it to 0.
        warmup_epochs: Epochs in which the rate rises from 0.
        subnets: Subnets drawn for each step.
        sandwich: Whether the largest and the smallest come before those.
        kernels: Kernel sizes.
        depths: Layers of a unit.
        expansions: Expansion ratios.
    """
    return dict(locals())


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "mobilenetv3@32"
    config.max_madds = 1.5e6
    config.data.update(name="digits", image_size=16)
    config.search.update(
        split=0.8, evaluator="supernet", queries=40, unit_queries=10
    )
    config.search.subspaces.centres = 5
    # One phase instead of six: every step trains the largest, the smallest
    # and a random subnet, and the largest teaches the others.
    config.search.supernet.update(
        batch_size=32, augment="none", calibration_images=300,
        score_batch=300, distill="in_place", phases=("all",),
    )
    config.search.supernet.all = _phase(
        12, 0.1, 1, 1, True, KERNELS, DEPTHS, EXPANSIONS
    )
