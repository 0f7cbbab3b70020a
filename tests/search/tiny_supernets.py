"""Trainings of a supernet that take seconds, on noise."""

import dataclasses

from ml_collections import config_dict

from tests import elastic_nets
from tfnas.search.elastic_training import ElasticTraining
from tfnas.spaces.elastic import ElasticSpace
from tfnas.spaces.elastic_specs import Unit
from tfnas.train import distribute
from tfnas.train.loop import Loop

# One unit of one or two layers: there is little to trace.
SPEC = dataclasses.replace(
    elastic_nets.SPEC, units=(Unit(8, 2, "hard_swish", se=True),)
)
SPACE = ElasticSpace("tiny", SPEC)
BATCH = 8


def phase(**changes):
    """Returns a phase of one epoch that draws one subnet of all."""
    fields = {
        "epochs": 1, "lr": 0.02, "warmup_epochs": 0, "subnets": 1,
        "sandwich": False, "kernels": (3, 5, 7), "depths": (1, 2),
        "expansions": (3, 4, 6),
    }
    return config_dict.ConfigDict({**fields, **changes})


def make_config(phases=None, **changes):
    """Returns the `search.supernet` section of a config.

    Args:
        phases: Name to phase; by default `full`, then `all`.
        **changes: Changes of other fields.
    """
    full = phase(kernels=(7,), depths=(2,), expansions=(6,))
    phases = phases or {"full": full, "all": phase()}
    fields = {
        "batch_size": BATCH, "augment": "none", "label_smoothing": 0.1,
        "momentum": 0.9, "nesterov": True, "weight_decay": 3e-5,
        "bn_groups": 1, "distill": "teacher", "distill_weight": 0.5,
        "calibration_images": 16, "calibration_batch": 8, "score_batch": 16,
        "phases": tuple(phases),
    }
    return config_dict.ConfigDict({**fields, **changes, **phases})


def make_training(
    config=None, strategy="default", seed=0, examples=18, space=SPACE
):
    """Returns a training on noise."""
    split = elastic_nets.split(examples, seed)
    loop = Loop(distribute.strategy(strategy), seed, progress=False)
    return ElasticTraining(space, split, loop, config or make_config(), seed)
