"""Published and searched networks in the manner of Keras applications.

All take the arguments of `build`, and `names()` lists them; `ShrinkRNN`, a
language model, has arguments of its own. `python -m tfnas.applications`
prints what they cost and reach. Networks that the package ships with trained
weights are here too, each as a function.

Example:
    >>> net = tfnas.applications.TFNASSmall(weights="cifar10")
    >>> net.output_shape
    (None, 10)
    >>> net = tfnas.applications.from_arch(tfnas.Arch.load("arch.json"))
    >>> net = tfnas.applications.with_new_head("tfnas_small", 5, "cifar10")
    >>> maps = tfnas.applications.feature_extractor("ase_nas", ("stride_8",))
"""

from typing import Any

from tfnas.applications import publishing
from tfnas.applications import weights
from tfnas.applications.ase_nas import ASENAS
from tfnas.applications.ase_nas import ASENASPlus
from tfnas.applications.autoshrink import ShrinkCNNA
from tfnas.applications.autoshrink import ShrinkCNNB
from tfnas.applications.autospace import AutoSpace340M
from tfnas.applications.builder import build
from tfnas.applications.builder import constructor
from tfnas.applications.builder import from_arch
from tfnas.applications.builder import get
from tfnas.applications.builder import with_new_head
from tfnas.applications.densenas import DenseNASA
from tfnas.applications.densenas import DenseNASB
from tfnas.applications.densenas import DenseNASC
from tfnas.applications.entry import APPLICATIONS
from tfnas.applications.entry import Application
from tfnas.applications.entry import Preset
from tfnas.applications.entry import register
from tfnas.applications.features import endpoints
from tfnas.applications.features import feature_extractor
from tfnas.applications.images import class_names
from tfnas.applications.images import decode_predictions
from tfnas.applications.images import preprocess_input
from tfnas.applications.language import ShrinkRNN
from tfnas.applications.listing import table
from tfnas.applications.publishing import publish
from tfnas.applications.publishing import register_file
from tfnas.applications.recognition import feed_of

names = APPLICATIONS.names
publishing.register_shipped()

__all__ = [
    "ASENAS",
    "ASENASPlus",
    "Application",
    "AutoSpace340M",
    "DenseNASA",
    "DenseNASB",
    "DenseNASC",
    "Preset",
    "ShrinkCNNA",
    "ShrinkCNNB",
    "ShrinkRNN",
    "build",
    "class_names",
    "decode_predictions",
    "endpoints",
    "feature_extractor",
    "feed_of",
    "from_arch",
    "get",
    "names",
    "preprocess_input",
    "publish",
    "register",
    "register_file",
    "table",
    "weights",
    "with_new_head",
]


def __getattr__(name: str) -> Any:
    """Finds the functions of networks that are files; see `publishing`."""
    for entry in map(APPLICATIONS.get, names()):
        if entry.function == name:
            summary = f"The network `{entry.name}`, with trained weights."
            return constructor(entry.name, name, summary)
    raise AttributeError(f"module 'tfnas.applications' has no {name!r}")


def __dir__() -> list[str]:
    shipped = [APPLICATIONS.get(name).function for name in names()]
    return sorted({*globals(), *filter(None, shipped)})
