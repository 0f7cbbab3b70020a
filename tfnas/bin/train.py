"""Trains a network from scratch, or from a search's shared weights.

    tfnas-train --config=configs/densenas.py --arch=a.json \\
        --workdir=runs/train [--init_from=runs/search]

`--arch=densenas_a`, a name in place of a file, is a published network, made
for the images and classes of the data. Writes `model.keras` into the workdir.
A training that was killed goes on when the same command is given again. A
language model is trained on a text (`--config=configs/shrink_rnn.py
--arch=shrink_rnn --config.data.name=ptb:DIR`).
"""

import pathlib
import shlex
from typing import Any

from absl import flags

from tfnas import cli
from tfnas.arch import Arch
from tfnas.bin import archs
from tfnas.bin import checks
from tfnas.bin import configs
from tfnas.bin import options
from tfnas.errors import ConfigError
from tfnas.ops.recurrent import is_language_model

_CONFIG = configs.define_config()
_WORKDIR = options.define_workdir()
_ARCH = archs.define_arch()
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Workdir of the search whose weights to start from."
)
options.define_overrides()
options.define_allow_imports()


def main(argv: list[str]) -> None:
    """Trains the network and writes the model."""
    del argv
    config = options.merge(_CONFIG.value)
    arch = archs.get(_ARCH.value)
    checks.training(config)
    if _INIT_FROM.value:
        if is_language_model(arch):
            raise ConfigError(
                "a language model is trained from scratch. "
                f"Received: --init_from={_INIT_FROM.value}"
            )
        options.saved_config(_INIT_FROM.value)
    cli.load_tensorflow()
    from tfnas import data
    from tfnas import export
    from tfnas.search import runner
    from tfnas.train import distribute
    from tfnas.train import retrain

    strategy = distribute.strategy(config.strategy)  # before any tensor
    if is_language_model(arch):
        _train_language(arch, config)
        return
    dataset = data.load(config.data)
    arch = archs.get(_ARCH.value, dataset.classes, dataset.image_shape)
    weights = None
    if _INIT_FROM.value:
        source = options.saved_config(_INIT_FROM.value)
        search = runner.open_search(source, _INIT_FROM.value)
        weights = search.weights_for(arch)
    model, accuracy = retrain.retrain(
        arch, config, _WORKDIR.value, dataset, weights
    )
    path = pathlib.Path(_WORKDIR.value) / "model.keras"
    if distribute.is_chief(strategy):
        retrain.save_model(model, path, export.feed_of(dataset))
    print(f"{path}: test accuracy {accuracy:.4f}")
    print(
        f"next: tfnas-export --model={path} --quantize=int8 "
        f"--data={shlex.quote(config.data.name)} "
        f"--output={path.with_name('model_int8.tflite')}"
    )


def _train_language(arch: Arch, config: Any) -> None:
    """Trains a language model, made to fit the text, and writes it."""
    from tfnas import data
    from tfnas.train import language
    from tfnas.train import retrain

    text = data.load_text(config.data)
    arch = language.fitted(arch, text, config.train.width)
    model, perplexity = language.train_language(
        arch, config, _WORKDIR.value, text
    )
    path = pathlib.Path(_WORKDIR.value) / "model.keras"
    retrain.save_model(model, path)
    print(
        f"{path}: perplexity {perplexity['test']:.2f} on the test text, "
        f"{perplexity['valid']:.2f} on the one that chose the weights"
    )


def entry() -> None:
    """Runs the program `tfnas-train`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
