"""Networks with trained weights as files, to ship or to share.

A network is one JSON file, `<name>.json`, that names its weight files, which
lie beside it, with their hashes. Those that are part of the package lie in
`presets/`.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tfnas import artifacts
from tfnas.applications import weights as weight_files
from tfnas.applications.entry import HALF
from tfnas.applications.entry import Application
from tfnas.applications.entry import Preset
from tfnas.applications.entry import add
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

FORMAT = "tfnas-application/1"
SHIPPED = pathlib.Path(__file__).parent / "presets"
_FIELDS = {"format", "name", "function", "arch", "mean", "std", "presets"}


def publish(
    folder: str | os.PathLike, name: str, arch: Arch, model: Any,
    preset: str = "default", *, mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF, labels: Sequence[str] = (), data: str = "",
    top1: float | None = None, function: str = "",
) -> pathlib.Path:
    """Writes a network and its trained weights, for others to register.

    Another preset of a network that is there already is added to it.

    Args:
        folder: Where to write `<name>.json` and `<name>_<preset>.npz`.
        name: Lower-case name of the network.
        arch: The network.
        model: A Keras model made from `arch`, trained.
        preset: Name of the weights, often that of the data.
        mean: Of the channels on the 0..255 scale, in training.
        std: Of the channels on the 0..255 scale, in training.
        labels: Name of each class.
        data: What it was trained and tested on, in words.
        top1: Accuracy on those test images, in percent.
        function: Name that the shipped network has as a function of
            `tfnas.applications`, such as `"TFNASSmall"`.

    Returns:
        The JSON file: `register_file` takes it.

    Raises:
        ConfigError: when there is not one label for each class, or the file
            that is there describes another network.
        ArtifactError: when the model is not made from `arch`.
    """
    if labels and len(labels) != arch.classes:
        raise ConfigError(
            f"`labels` must name {arch.classes} classes. "
            f"Received: {len(labels)}"
        )
    description = {
        "format": FORMAT, "name": name, "function": function,
        "arch": arch.to_json(), "mean": [*mean], "std": [*std],
    }
    place = pathlib.Path(folder) / f"{name}.json"
    presets = _presets_of(place, description) if place.exists() else {}
    file = f"{name}_{preset}.npz"
    _require_whole(model, arch)
    weight_files.save(place.with_name(file), model, arch)
    presets[preset] = {
        "file": file, "sha256": artifacts.sha256(place.with_name(file)),
        "labels": [*labels], "data": data, "top1": top1,
    }
    artifacts.write_json(place, {**description, "presets": presets})
    return place


def _require_whole(model: Any, arch: Arch) -> None:
    found = {v.path: tuple(v.shape) for v in model.weights}
    expected = weight_files.variables(arch)
    differing = sorted(
        path for path in found.keys() | expected.keys()
        if found.get(path) != expected.get(path)
    )
    if differing:
        raise ArtifactError(
            f"the model must be made from network {arch.id}. Received: a "
            f"model that differs in {len(differing)} variables, such as "
            f"{differing[0]!r}"
        )


def _presets_of(
    place: pathlib.Path, description: dict[str, Any]
) -> dict[str, Any]:
    old = artifacts.read_json(place, FORMAT)
    presets = old.pop("presets")
    if old != description:
        raise ConfigError(
            f"Expected another name: {place} describes another network, or "
            f"the same with other settings. Received: {description['name']!r}"
        )
    return presets


def register_file(path: str | os.PathLike) -> Application:
    """Registers a network that `publish` wrote.

    Args:
        path: The JSON file; the weights lie beside it, and are read when
            they are asked for.

    Returns:
        The entry of the table of applications.

    Raises:
        ArtifactError: when the file is damaged or a weight file is missing.
        ConfigError: when the name is taken.
    """
    value = artifacts.read_json(path, FORMAT)
    if set(value) != _FIELDS or not isinstance(value["presets"], dict):
        raise ArtifactError(
            f"{path}: expected the fields {sorted(_FIELDS)}. "
            f"Received: {sorted(value)}"
        )
    folder = pathlib.Path(path).parent
    try:
        presets = {
            key: Preset(
                str(folder / pathlib.PurePath(entry["file"]).name),
                str(entry["sha256"]), tuple(map(str, entry["labels"])),
                str(entry["data"]), entry["top1"],
            )
            for key, entry in value["presets"].items()
        }
        mean, std = (tuple(map(float, value[k])) for k in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: a field is wrong: {error!r}") from error
    for preset in presets.values():
        if not os.path.isfile(preset.path):
            raise ArtifactError(f"{path}: there is no {preset.path}")
    arch = Arch.from_json(value["arch"], str(path))
    return add(
        Application(
            str(value["name"]), arch=arch, mean=mean, std=std,
            presets=presets, function=str(value["function"]),
        )
    )


def register_shipped(folder: pathlib.Path = SHIPPED) -> None:
    """Registers the networks of a folder, those in the package by default."""
    for path in sorted(folder.glob("*.json")):
        register_file(path)
