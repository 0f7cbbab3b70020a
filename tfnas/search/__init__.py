"""Search algorithms and the runner that makes them resumable.

The public names are loaded on first use: what configs and programs look up
here beside them does without TensorFlow. `config.algorithm` is a name in
`SEARCHES`, or the dotted path of your own `f(setting)` to a `Search`, such as
`my_package.my_search.build`.
"""

import importlib
from typing import Any

from tfnas import keras_checked as _keras_checked
from tfnas.registry import Registry

_FIRST = (_keras_checked,)  # imported for what it refuses
_OWNERS = {
    "SearchResult": "tfnas.results", "run_search": "tfnas.search.runner",
}

SEARCHES: Registry[Any] = Registry(
    "search algorithm",
    {
        name: f"{__name__}.{name}.build"
        for name in ("autoshrink", "autospace", "densenas", "proxyless")
    }
    | dict.fromkeys(
        ("ase_nas", "evolution", "guided", "local_search", "random",
         "uniform_subspace"),
        f"{__name__}.builders.build",
    ),
    imports=True,
)

__all__ = ["SEARCHES", "SearchResult", "run_search"]


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)
