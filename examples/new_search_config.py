"""TuNAS (Bender et al., CVPR 2020), the search of `new_search.py`.

    PYTHONPATH=examples tfnas-search --config=examples/new_search_config.py \\
        --target_madds=3e6 --workdir=runs/tunas

On digits, in a space of MBConv at 32 px; `--space=` takes any other line of a
lattice, `--lut=` a table of your device. Expected: networks of the target's
cost beside random ones, after a minute on 2 CPU cores, which teaches the
shared weights little. With --config.search.epochs=60 and arch_from_epoch=15
(5 CPU minutes) we saw 82 % beside 53 to 75 % of four random ones, of one seed.
"""

from tfnas.configs import _base


def get_config(variant="local"):
    """Returns the config."""
    _base.check_variant(variant, "local")
    search = {
        "epochs": 12, "arch_from_epoch": 3,  # a quarter, as in the paper
        "batch_size": 32, "augment": "none",
        "split": 0.8,  # share of the training images for the weights
        "top_archs": 2, "random_archs": 4, "random_tolerance": 0.05,
        "weights": {"lr": 0.1, "momentum": 0.9, "weight_decay": 4e-5},
        "arch": {"lr": 2e-2},
        "cost": {"target_factor": 0.5, "tolerance": 0.02},
    }
    config = _base.search("new_search.build", "proxyless_mbconv@32", search)
    config.data.update(name="digits", image_size=32)
    return config
