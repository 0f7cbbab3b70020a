"""Makes a trained network an application with a preset of the package.

    python -m benchmarks.publish_preset --model=train/model.keras \\
        --arch=arch.json --name=tfnas_small --function=TFNASSmall \\
        --preset=cifar10 --data=webp:DIR --note="CIFAR-10, 8k test subset"

Tests the model on the test images and writes its weights, their hash, the
labels, the normalisation and the accuracy into `tfnas/applications/presets/`.
From then on `tfnas.applications.TFNASSmall(weights="cifar10")` is there, and
the table lists it; run `benchmarks.applications` for its latency.
"""

from __future__ import annotations

import json

from absl import flags

from tfnas import cli
from tfnas.bin import configs
from tfnas.bin import datasets

_MODEL = flags.DEFINE_string(
    "model", None, "The trained .keras file.", required=True
)
_ARCH = flags.DEFINE_string(
    "arch", None, "The network it was made from, a JSON file.", required=True
)
_NAME = flags.DEFINE_string("name", "tfnas_small", "Name of the application.")
_FUNCTION = flags.DEFINE_string(
    "function", "TFNASSmall", "Its function in `tfnas.applications`."
)
_PRESET = flags.DEFINE_string("preset", "cifar10", "Name of the weights.")
_NOTE = flags.DEFINE_string(
    "note", None, "What it was trained and tested on.", required=True
)
_FOLDER = flags.DEFINE_string(
    "folder", "tfnas/applications/presets", "Where to write the files."
)
_DATA = datasets.define_data()
_CONFIG = configs.define_config(required=False)


def main(argv: list[str]) -> None:
    """Writes the files and prints one JSON line."""
    del argv
    cli.load_tensorflow()
    from tfnas import applications
    from tfnas import derive
    from tfnas import export
    from tfnas.arch import Arch

    arch = Arch.load(_ARCH.value)
    dataset = datasets.load(_CONFIG.value, _DATA.value, arch.input_shape[0])
    derive.require_fit(arch, dataset.image_shape, dataset.classes)
    model = export.load_keras(_MODEL.value)
    top1 = round(100 * export.accuracy(model, dataset.test), 2)
    path = applications.publish(
        _FOLDER.value, _NAME.value, arch, model, _PRESET.value,
        mean=dataset.mean, std=dataset.std, labels=dataset.class_names,
        data=_NOTE.value, top1=top1, function=_FUNCTION.value,
    )
    print(json.dumps({"file": str(path), "arch": arch.id, "top1": top1}))


if __name__ == "__main__":
    cli.run(main)
