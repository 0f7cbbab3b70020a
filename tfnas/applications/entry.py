"""What the table of applications holds: networks with a name, and presets."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from collections.abc import Sequence

from tfnas import artifacts
from tfnas import derive
from tfnas import spaces
from tfnas.applications import weights as weight_files
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.registry import Registry

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)


@dataclasses.dataclass(frozen=True)
class Preset:
    """Trained weights of an application.

    Args:
        path: Weight file.
        sha256: Hash of the file, 64 hexadecimal digits; it is checked before
            the file is read. `None` checks nothing.
        labels: Name of each class, or nothing.
        data: What it was trained and tested on, in words.
        top1: Accuracy on the test images of that, in percent.
    """

    path: str
    sha256: str | None = None
    labels: tuple[str, ...] = ()
    data: str = ""
    top1: float | None = None

    def read(self) -> weight_files.Weights:
        """Reads the weights.

        Raises:
            ArtifactError: when the file is missing or damaged, or is not the
                one that was published.
        """
        if self.sha256 is not None:
            found = artifacts.sha256(self.path)
            if found != self.sha256:
                raise ArtifactError(
                    f"{self.path}: not the weights that were published "
                    f"(damaged or replaced?): expected {self.sha256}. "
                    f"Received: sha256={found}"
                )
        return weight_files.read(self.path)


@dataclasses.dataclass(frozen=True)
class Application:
    """A network with a name.

    Args:
        name: Lower-case name, such as `"densenas_a"`.
        space: The search space that reads `text`, or `None`.
        text: The network in the published encoding of the space.
        arch: The network itself, where there is no space to read it.
        mean: Of the channels on the 0..255 scale.
        std: Of the channels on the 0..255 scale.
        top1: Published top-1 accuracy on ImageNet, in percent: the authors'.
        presets: Name of a weight preset to its file.
        function: Name of the function that builds it, such as
            `"DenseNASA"`; empty where there is none.
    """

    name: str
    space: str | None = None
    text: str | None = None
    arch: Arch | None = None
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    top1: float | None = None
    presets: Mapping[str, Preset] = dataclasses.field(default_factory=dict)
    function: str = ""

    def get_arch(
        self, classes: int | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> Arch:
        """Returns the network, for other classes or images if given.

        Raises:
            ConfigError: when the images have other channels than its first
                layer, which no space can make anew, takes.
        """
        if self.arch is None:
            assert self.space is not None and self.text is not None
            space = spaces.get(self.space, classes, input_shape)
            return space.decode(self.text)
        if input_shape is not None:
            _check_channels(self.name, self.arch, input_shape)
        return _fitted(self.arch, classes, input_shape)

    def read_weights(self, weights: str | os.PathLike) -> weight_files.Weights:
        """Reads a preset, or a weight file.

        Args:
            weights: Name of a preset, or a path.

        Raises:
            ConfigError: when there is neither; the message lists the presets.
            ArtifactError: when the file is damaged.
        """
        key = os.fspath(weights)
        if key in self.presets:
            return self.presets[key].read()
        if not os.path.isfile(key):
            known = sorted(self.presets) or "none"
            raise ConfigError(
                f"{self.name}: `weights` must be None, a preset (there "
                f"are: {known}) or a file. Received: {key!r}"
            )
        return weight_files.read(key)


def _check_channels(
    name: str, arch: Arch, input_shape: tuple[int, ...]
) -> None:
    ours, theirs = arch.input_shape[-1:], tuple(input_shape)[-1:]
    if ours and ours != theirs:
        raise ConfigError(
            f"{name} takes {ours[0]} channels. "
            f"Received: input_shape={tuple(input_shape)}"
        )


def _fitted(
    arch: Arch, classes: int | None, input_shape: tuple[int, ...] | None
) -> Arch:
    if classes is not None and classes != arch.classes:
        arch = derive.with_classes(arch, classes)
    if input_shape is not None:
        arch = dataclasses.replace(arch, input_shape=tuple(input_shape))
    return arch


APPLICATIONS: Registry[Application] = Registry("application")


def register(
    name: str, arch: Arch,
    weights: str | os.PathLike | Mapping[str, Preset] | None = None,
    mean: tuple[float, ...] = HALF, std: tuple[float, ...] = HALF,
    labels: Sequence[str] = (),
) -> Application:
    """Gives a network a name, so that `tfnas.applications.get` finds it.

    Args:
        name: A new name.
        arch: The network.
        weights: Weight file, which becomes the preset `"default"`; or several
            presets by their names.
        mean: Of the channels on the 0..255 scale, in training.
        std: Of the channels on the 0..255 scale, in training.
        labels: Name of each class of the weight file.

    Returns:
        The entry of the table of applications.

    Raises:
        ConfigError: when there is not one label for each class, or the name
            is taken.
    """
    presets: Mapping[str, Preset] = {}
    if isinstance(weights, Mapping):
        presets = weights
    elif weights is not None:
        presets = {"default": Preset(os.fspath(weights), labels=(*labels,))}
    return add(
        Application(name, arch=arch, mean=mean, std=std, presets=presets)
    )


def add(entry: Application) -> Application:
    """Puts an entry into the table of applications, and returns it.

    Raises:
        ConfigError: when a preset has not one label for each class, or the
            name is taken.
    """
    for key, preset in entry.presets.items():
        classes = entry.get_arch().classes
        if preset.labels and len(preset.labels) != classes:
            raise ConfigError(
                f"{entry.name}: `labels` of the preset {key!r} must name "
                f"{classes} classes. Received: {len(preset.labels)}"
            )
    if entry.name in APPLICATIONS:
        raise ConfigError(
            "Each application needs a name of its own. "
            f"Received: name={entry.name!r}"
        )
    return APPLICATIONS.register(entry.name, entry)


def find(network: str | Arch | Application) -> Application:
    """Returns the entry of a name, or one for a network without a name.

    Raises:
        ConfigError: for an unknown name; the message lists the known ones.
    """
    if isinstance(network, Application):
        return network
    if isinstance(network, Arch):
        return Application(f"tfnas_{network.id}", arch=network)
    return APPLICATIONS.get(network)
