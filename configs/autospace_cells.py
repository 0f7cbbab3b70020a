"""AutoSpace: evolves a space of cells (Zhou et al., ICCV 2021).

Command, on 100 classes of ImageNet in class folders:
    tfnas-search --config=configs/autospace_cells.py --workdir=runs/autospace
Expected: runs/autospace/space.json, six evolved and three reference cells for
each of 11 positions, for `--config.space=autospace_proxyless:SPACE.json` of
configs/proxyless_autospace.py. Time: not known; the paper does not say.

With a latency table of the cells' parts (`tfnas-lut --space=autospace`):
    --lut=runs/cells.json --config.search.cost.kind=latency --target_ms=20

Variant `local` (digits, the space scaled to 32 px):
    tfnas-search --config=configs/autospace_cells.py:local \\
        --workdir=runs/autospace
Expected: a space file of 4 positions. Time: under 5 minutes on 2 CPU cores.
"""

from ml_collections import config_dict
from tfnas.configs import _base

from tfnas.search.population import Rules


def get_config(variant: str = "imagenet") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `imagenet` or `local`.
    """
    _base.check_variant(variant, "imagenet", "local")
    search = {
        "warmup_epochs": 10, "rounds": 200,
        "steps": 200,  # weight steps of a round
        "arch_every": 2,  # weight steps for each gate step
        "tau": 1.0,  # temperature of the gates
        "batch_size": 256, "split": 0.8, "augment": "resized_crop+flip",
        "label_smoothing": 0.1, "bn_groups": 1,
        "evolved": 6,  # cells of a position in the space file
        "min_visits": 2,  # rounds that they ran
        "reference_weight": 0.0,  # pulls features towards the reference's
        "merge": "channel_gate",  # or hadamard
        "large_kernel": "dense",  # or dilated
        "random_archs": 10, "random_tolerance": 0.05,
        "population": _base.section_of(Rules()),
        "weights": {
            "lr": 0.025, "min_lr": 0.0, "momentum": 0.9, "weight_decay": 4e-5,
            "clip_norm": 5.0,
        },
        "gates": {"lr": 3e-3, "beta1": 0.5, "beta2": 0.999},
        "cost": {
            "kind": "madds",  # or params, or latency with a table
            "cap_ratio": 2.0,  # of the cell whose kernels are 7x7
            # Aim of a network, in millions or ms; null is the run's target.
            "budget": _base.null(float),
            "factor": 0.1, "tolerance": 0.02,
        },
    }
    config = _base.search(
        "autospace", "autospace", search,
        lut=_base.lut(nets=0),  # cells are measured, networks of them are not
    )
    config.data.classes = 100
    if variant == "local":
        _make_local(config)
    return config


def _make_local(config: config_dict.ConfigDict) -> None:
    config.space = "autospace@32"
    config.data.update(name="digits", image_size=32, classes=None)
    config.search.update(
        warmup_epochs=2, rounds=8, steps=40, batch_size=32, augment="none",
        label_smoothing=0.0, min_visits=1, random_archs=2,
    )
    config.search.weights.lr = 0.05
    config.search.gates.lr = 3e-2  # few steps: the rate of a long run is 3e-3
    config.search.population.update(size=16, slots=3, tournament=3)
