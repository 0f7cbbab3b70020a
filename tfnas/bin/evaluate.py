"""Measures the accuracy of models on the test images of one data set.

    tfnas-evaluate --data=digits --model=model.keras --model=model_int8.tflite

Of language models, on a text (`--data=ptb:DIR`), it measures the perplexity.
"""

from absl import flags

from tfnas import cli
from tfnas.bin import configs
from tfnas.bin import datasets
from tfnas.errors import ConfigError

_MODEL = flags.DEFINE_multi_string(
    "model",
    None,
    "A .keras or .tflite file; give the flag once for each of them.",
    required=True,
)
_DATA = datasets.define_data()
_CONFIG = configs.define_config(required=False)


def main(argv: list[str]) -> None:
    """Prints a table with the accuracy of every model."""
    del argv
    cli.load_tensorflow()
    from tfnas import export

    if datasets.asks_for_text(_CONFIG.value, _DATA.value):
        _print_table(_perplexities())
        return
    models = {path: export.load_classifier(path) for path in _MODEL.value}
    data = {
        size: datasets.load(_CONFIG.value, _DATA.value, size)
        for size in {model.input_shape[0] for model in models.values()}
    }
    for path, model in models.items():
        dataset = data[model.input_shape[0]]
        if model.classes != dataset.classes:
            raise ConfigError(
                f"{path}: expected a network of {dataset.classes} classes, as "
                f"{dataset.name} has. Received: classes={model.classes}"
            )
    rows: list[tuple[str, ...]] = [("model", "accuracy", "images")]
    for path, model in models.items():
        split = data[model.input_shape[0]].test
        share = export.accuracy(model, split)
        rows.append((path, f"{100 * share:.2f} %", str(len(split))))
    _print_table(rows)


def _perplexities() -> list[tuple[str, ...]]:
    """Reads the test text with every model, word by word."""
    from tfnas import export

    rows: list[tuple[str, ...]] = [("model", "perplexity", "words")]
    for path in _MODEL.value:
        model = export.load_language_model(path)
        text = datasets.load_text(_CONFIG.value, _DATA.value, path)
        if len(text.vocabulary) != model.words:
            raise ConfigError(
                f"{path}: expected a network of {len(text.vocabulary)} words, "
                f"as {text.name} has. Received: words={model.words}"
            )
        perplexity = export.perplexity(model, text.test)
        rows.append((path, f"{perplexity:.2f}", str(len(text.test) - 1)))
    return rows


def _print_table(rows: list[tuple[str, ...]]) -> None:
    width = max(len(name) for name, *_ in rows)
    for name, *cells in rows:
        print(name.ljust(width), *(cell.rjust(10) for cell in cells))


def entry() -> None:
    """Runs the program `tfnas-evaluate`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
