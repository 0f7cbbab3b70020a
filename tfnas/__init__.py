"""Neural architecture search for TensorFlow on phones.

The public names are loaded on first use, so that `import tfnas` starts in
milliseconds and TensorFlow is imported only by what needs it.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that owns it; None: the name is a submodule.
_OWNERS = {
    "Arch": "tfnas.arch",
    "LatencyTable": "tfnas.cost.lut",
    "SearchResult": "tfnas.results",
    "applications": None,
    "build_model": "tfnas.derive",
    "config": "tfnas.config_files",
    "count": "tfnas.cost.counting",
    "data": None,
    "export": None,
    "ops": None,
    "report": None,
    "run": "tfnas.whole_run",
    "run_search": "tfnas.search",
    "spaces": None,
}


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module 'tfnas' has no attribute {name!r}")
    owner = _OWNERS[name]
    if owner is None:
        return importlib.import_module(f"tfnas.{name}")
    return getattr(importlib.import_module(owner), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *_OWNERS])
