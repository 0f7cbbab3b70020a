"""Guided search in a table of trained networks: real answers in seconds.

Command, with the table of NAS-Bench-Macro (Su et al., CVPR 2021; 6,561 rows of
codes and CIFAR-10 accuracies) as `TrainedTable` reads it, 60M multiply-adds:
    tfnas-search --config=configs/guided_table.py --workdir=runs/guided \\
        --config.search.table=nasbench_macro.npz --target_madds=60e6
or with latencies of your device:
    tfnas-lut --space=nasbench_macro --lut=table.json
    tfnas-search --config=configs/guided_table.py --workdir=runs/guided \\
        --config.search.table=nasbench_macro.npz --lut=table.json \\
        --target_ms=0.6
Expected: 92.45 % on average at 60M (the best in the table has 92.55 %). A query
sees one of three trainings. Time: seconds.

Variant `accel` (Accel-NASBench: 5,138 trained networks of ImageNet, 300M):
    tfnas-search --config=configs/guided_table.py:accel \\
        --workdir=runs/guided --config.search.table=accel_nasbench.npz \\
        --target_madds=300e6
Expected: 64.5 % after its short trainings, the best there is at 300M.
`--config.algorithm=` `random`, `evolution` and `local_search` are baselines.
"""

from ml_collections import config_dict
from tfnas.configs import _base
from tfnas.configs import guided


def get_config(variant: str = "macro") -> config_dict.ConfigDict:
    """Returns the config.

    Args:
        variant: `macro` or `accel`.
    """
    _base.check_variant(variant, "macro", "accel")
    config = guided.get_config()
    config.space = "nasbench_macro"
    if variant == "accel":
        config.space = "accel_nasbench"
        config.data.update(name="folder:imagenet", image_size=224)
    config.search.update(
        evaluator="table", table=_base.null(str), unit_queries=8
    )
    return config
