"""Measures the accuracy of models on the test images of one data set.

    tfnas-evaluate --data=digits --model=model.keras --model=model_int8.tflite

Each model is fed as its file says (metadata of a `.tflite`, ours or those of
TensorFlow's tools; what `tfnas-train` left in a `.keras`), else as its input
type and its first operations imply, else as the data set is scaled, which is
said. `--mean`, `--std` and `--labels` know better. Classes are matched by name.

Of language models, on a text (`--data=ptb:DIR`), it measures the perplexity.
"""

from typing import Any

from absl import flags

from tfnas import cli
from tfnas.bin import checks
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
datasets.define_feed()
_CONFIG = configs.define_config(required=False)


def main(argv: list[str]) -> None:
    """Prints a table with the accuracy of every model."""
    del argv
    given = datasets.given_feed()
    checks.models(_MODEL.value)
    datasets.check(_CONFIG.value, _DATA.value)
    cli.load_tensorflow()
    from tfnas import export

    if datasets.asks_for_text(_CONFIG.value, _DATA.value):
        _print_table(_perplexities())
        return
    sets: dict[Any, Any] = {}
    rows: list[tuple[str, ...]] = [("model", "accuracy", "images")]
    for path in _MODEL.value:
        model = export.load_classifier(path, apart=True)
        datasets.recognize(model)
        known = given.filled(model.feed)
        key = (model.input_shape, known.image_size)
        if key not in sets:
            sets[key] = datasets.load(
                _CONFIG.value, _DATA.value, model.input_shape, known
            )
        dataset = export.fit(
            model, sets[key], given, datasets.stated_feed(_CONFIG.value),
            flags.FLAGS.scores,
        )
        for remark in export.remarks(model, dataset):
            print(remark)
        share = export.accuracy(model, dataset.test)
        if hint := export.better_scale(model, dataset, share):
            print(hint)
        rows.append((path, f"{100 * share:.2f} %", str(len(dataset.test))))
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
