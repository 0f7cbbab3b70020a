"""Prepares a set of images for a search: which to use, and in few files.

    tfnas-data split --data=folder:imagenet --classes=100 --output=split.json
    tfnas-data pack --data=folder:imagenet --split_list=split.json \\
        --output=imagenet100

`split` writes a list: a share of the training images of each class for the
weights of a search, the others for the architecture. A search follows it with
`--config.data.split_list=split.json`. `pack` writes TFRecord files, which
`--config.data.name=tfrecord:imagenet100/*.tfrecord` reads: all images, or those
of a split list and the test images of its classes. The list goes with the
records as it does with the folder. Images are packed byte for byte, unreadable
ones are named and left out, and the same command goes on where it stopped.
"""

from absl import app
from absl import flags

from tfnas import cli
from tfnas import seeds
from tfnas.errors import ConfigError

_DATA = flags.DEFINE_string(
    "data",
    None,
    "The images: folder:<dir> with train/ and val/, tfrecord:<glob>, "
    "tfds:<name>, npz:<file>, webp:<dir>, cifar10, cifar100 or digits.",
    required=True,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "split: the JSON file to write. pack: the folder to write to.",
    required=True,
)
_CLASSES = flags.DEFINE_integer(
    "classes",
    None,
    "split: how many classes to use, the first in sorted order.",
    lower_bound=2,
)
_CLASS_SEED = seeds.define(
    "split: draws the --classes with this seed instead", name="class_seed"
)
_CLASS_LIST = flags.DEFINE_string(
    "class_list",
    None,
    "split: a file with the name of a class on each line, or imagenet100: the "
    "first 100 classes of ImageNet in sorted order. (DenseNAS took the first "
    "100 of its unsorted listing, which is not published.)",
)
_FRACTION = flags.DEFINE_float(
    "fraction",
    0.8,
    "split: share of each class that trains the weights.",
    lower_bound=0,
    upper_bound=1,
)
_SEED = seeds.define(
    "split: draws the images of that share; without it they are the first of "
    "each class in sorted order, as DenseNAS takes them"
)
_SPLIT_LIST = flags.DEFINE_string(
    "split_list", None, "pack: use the classes and images of this list only."
)
_IMAGES_PER_FILE = flags.DEFINE_integer(
    "images_per_file", 1000, "pack: images in one file.", lower_bound=1
)
_MAX_BAD = flags.DEFINE_integer(
    "max_bad",
    10,
    "pack: how many unreadable images of the training and of the test half "
    "may be left out; more are an error.",
    lower_bound=0,
)

_ONLY = {
    "split": ("classes", "class_seed", "class_list", "fraction", "seed"),
    "pack": ("split_list", "images_per_file", "max_bad"),
}


def main(argv: list[str]) -> None:
    """Runs `split` or `pack` and prints one line about it."""
    if len(argv) != 2 or argv[1] not in _ONLY:
        raise app.UsageError(
            f"Expected one of {', '.join(_ONLY)} before the flags. "
            f"Received: {' '.join(argv[1:]) or 'nothing'}"
        )
    command = argv[1]
    for other, names in _ONLY.items():
        strays = [name for name in names if flags.FLAGS[name].present]
        if other != command and strays:
            raise app.UsageError(
                f"Expected flags of {command}. Received: "
                f"--{' --'.join(strays)}, for {other}"
            )
    from tfnas import data

    data.check_images({"name": _DATA.value, "split_list": _SPLIT_LIST.value})
    cli.load_tensorflow()
    if command == "split":
        _split()
    else:
        _pack()


def _split() -> None:
    from tfnas import data
    from tfnas.data import split
    from tfnas.data import split_list

    if _CLASS_LIST.value is not None and _CLASSES.value is not None:
        raise ConfigError(
            "Expected --classes or --class_list. Received: both"
        )
    if _CLASS_SEED.value is not None and _CLASSES.value is None:
        raise ConfigError(
            "--class_seed draws --classes. "
            f"Received: --class_seed={_CLASS_SEED.value} alone"
        )
    source = data.find({"name": _DATA.value})
    names = source.class_names
    if _CLASS_LIST.value is not None:
        wanted = split_list.read_classes(_CLASS_LIST.value)
        kept = split_list.labels_of(wanted, names, _DATA.value)
    else:
        kept = split.choose_classes(
            len(names), _CLASSES.value, _CLASS_SEED.value
        )
    made = data.SplitList.of(
        _DATA.value, names, source.train, kept, _FRACTION.value, _SEED.value
    )
    made.save(_OUTPUT.value)
    print(
        f"{_OUTPUT.value}: {len(made.classes)} classes, "
        f"{len(made.weights)} images for the weights, {len(made.arch)} for "
        "the architecture"
    )


def _pack() -> None:
    from tfnas import data
    from tfnas.data import fields
    from tfnas.data import packing

    config = {
        "name": _DATA.value,
        "split_list": _SPLIT_LIST.value,
        "max_bad": _MAX_BAD.value,
    }
    names, halves = packing.halves(data.find(config), fields.read(config))
    packed = packing.pack(
        _OUTPUT.value, _DATA.value, names, halves, _IMAGES_PER_FILE.value
    )
    print(
        f"{_OUTPUT.value}: {packed['train']} training and {packed['val']} "
        f"test images; read them with "
        f"--config.data.name=tfrecord:{_OUTPUT.value}/*.tfrecord"
    )


def entry() -> None:
    """Runs the program `tfnas-data`."""
    cli.run(main, words=True)


if __name__ == "__main__":
    entry()
