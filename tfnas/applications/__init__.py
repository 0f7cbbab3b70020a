"""Published and searched networks in the manner of Keras applications.

    net = tfnas.applications.DenseNASA(classes=10, input_shape=(96, 96, 3))
    net = tfnas.applications.from_arch(tfnas.Arch.load("arch.json"))

All take the arguments of `build`, and `names()` lists them; `ShrinkRNN`, a
language model, has arguments of its own.
"""

from tfnas.applications import weights
from tfnas.applications.ase_nas import ASENAS
from tfnas.applications.ase_nas import ASENASPlus
from tfnas.applications.autoshrink import ShrinkCNNA
from tfnas.applications.autoshrink import ShrinkCNNB
from tfnas.applications.autospace import AutoSpace340M
from tfnas.applications.builder import APPLICATIONS
from tfnas.applications.builder import Application
from tfnas.applications.builder import build
from tfnas.applications.builder import decode_predictions
from tfnas.applications.builder import endpoints
from tfnas.applications.builder import from_arch
from tfnas.applications.builder import get
from tfnas.applications.builder import preprocess_input
from tfnas.applications.builder import register
from tfnas.applications.densenas import DenseNASA
from tfnas.applications.densenas import DenseNASB
from tfnas.applications.densenas import DenseNASC
from tfnas.applications.language import ShrinkRNN

names = APPLICATIONS.names

__all__ = [
    "ASENAS",
    "ASENASPlus",
    "Application",
    "AutoSpace340M",
    "DenseNASA",
    "DenseNASB",
    "DenseNASC",
    "ShrinkCNNA",
    "ShrinkCNNB",
    "ShrinkRNN",
    "build",
    "decode_predictions",
    "endpoints",
    "from_arch",
    "get",
    "names",
    "preprocess_input",
    "register",
    "weights",
]
