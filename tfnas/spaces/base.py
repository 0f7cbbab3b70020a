"""The contract of a search space, and the table of spaces."""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from tfnas import ops
from tfnas import text_table
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.registry import Registry
from tfnas.spaces import summaries


class Space(abc.ABC):
    """A set of architectures with a way to draw, vary and write them.

    Args:
        name: Registered name, such as `"densenas_mbv2@32"`.
        input_shape: `(height, width, channels)` of the networks.
        classes: Width of their logits.

    Attributes:
        entries: What the rows of a latency table have to be: `"isolated"`,
            each block; `"operators"` where the runtime fuses blocks with
            their neighbours, or where they are too many to measure.
    """

    entries = "isolated"

    def __init__(
        self, name: str, input_shape: tuple[int, ...], classes: int
    ):
        self.name = name
        self.input_shape = tuple(input_shape)
        self.classes = classes

    @abc.abstractmethod
    def sample(self, seed: int) -> Arch:
        """Draws an architecture; equal seeds give equal architectures."""

    @abc.abstractmethod
    def random_neighbor(self, arch: Arch, seed: int) -> Arch:
        """Returns an architecture that differs from `arch` in one choice."""

    @abc.abstractmethod
    def contains(self, arch: Arch) -> bool:
        """Says whether the architecture belongs to the space."""

    @abc.abstractmethod
    def encode(self, arch: Arch) -> str:
        """Writes an architecture in the published encoding of the space."""

    @abc.abstractmethod
    def decode(self, text: str) -> Arch:
        """Reads an architecture in the published encoding of the space."""

    @abc.abstractmethod
    def blocks(self) -> Iterator[tuple[Block, tuple[int, ...]]]:
        """Yields every block of the space with its input shape."""

    def pieces(self) -> Iterator[tuple[list[Block], tuple[int, ...]]]:
        """Yields chains of blocks that hold every runtime operator.

        What a block becomes may depend on its neighbours; then they are in
        the chain. Each comes with the shape of its input.
        """
        for block, shape in self.blocks():
            yield [block], shape

    def lut_keys(self) -> list[str]:
        """Returns the distinct latency-table keys of the space, sorted."""
        keys = {ops.lut_key(block, shape) for block, shape in self.blocks()}
        return sorted(key for key in keys if key is not None)

    @property
    def num_choices(self) -> int | None:
        """Number of choices; unlike ones may make one network.

        `None` where nobody has counted them.
        """
        return None

    def __repr__(self) -> str:
        choices = text_table.power_of_ten(self.num_choices)
        return (
            f"<{type(self).__name__} {self.name}: "
            f"{text_table.sides(self.input_shape)}, {self.classes} classes, "
            f"{choices} choices>"
        )

    def summary(
        self, table: Any = None, samples: int = summaries.SAMPLES,
        print_fn: Callable[[str], Any] = print,
    ) -> None:
        """Prints what the space holds: sizes of some random networks.

        Args:
            table: A `LatencyTable` for their latencies, or `None`.
            samples: How many networks: those of the seeds 0, 1, ...
            print_fn: What is called with the text.
        """
        print_fn(summaries.of_space(self, table, samples))

    def require(self, arch: Arch) -> None:
        """Raises an `ArtifactError` unless the space contains `arch`."""
        if not self.contains(arch):
            raise ArtifactError(
                f"space `{self.name}` does not contain this architecture. "
                f"Received: arch={arch.id}, space={arch.space!r}"
            )


def image_shape(
    name: str, input_shape: tuple[int, ...] | None, size: int, stride: int
) -> tuple[int, ...]:
    """Returns the shape of a space's images.

    Args:
        name: Name of the space, for the error.
        input_shape: `(height, width, channels)`, if given.
        size: Side of the images otherwise, in pixels.
        stride: That of the last feature map; no image may be smaller.

    Raises:
        ConfigError: when the image is too small for the strides.
    """
    shape = (size, size, 3) if input_shape is None else tuple(input_shape)
    if len(shape) != 3 or min(shape[:2]) < stride:
        raise ConfigError(
            f"space `{name}` takes images of at least {stride} x {stride} "
            f"pixels. Received: input_shape={shape}"
        )
    return shape


_SPACES: Registry[Callable[..., Space]] = Registry("space", imports=True)
_FROM_FILES: Registry[Callable[..., Space]] = Registry("space with a file")
names = _SPACES.names
register = _SPACES.register
register_from_file = _FROM_FILES.register


def get(
    name: str,
    classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> Space:
    """Returns a search space.

    Args:
        name: One of `names()`; a suffix such as `@32` is the same kind of
            space scaled down for small images. Some take a file after a
            colon, `autospace_proxyless:space.json`, for their own.
        classes: Width of the logits. Defaults to the space's own (1000, or
            10 for scaled spaces).
        input_shape: `(height, width, channels)`. Defaults to the space's own.

    Raises:
        ConfigError: for an unknown name (the message lists the known ones),
            or an image too small for the space.
        ArtifactError: when the file is damaged or does not fit.
    """
    kind, colon, path = name.partition(":")
    if colon:
        make = _FROM_FILES.get(kind)
        return make(name, path, classes=classes, input_shape=input_shape)
    space = _SPACES.make(name, classes=classes, input_shape=input_shape)
    if not isinstance(space, Space):
        _SPACES.refuse(name, space)
    return space
