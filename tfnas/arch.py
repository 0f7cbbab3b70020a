"""The one value that flows through the product: a frozen network description.

An `Arch` is a chain of `Block`s from the image to the logits. It is
self-contained: stem, tail and classifier are blocks too, and everything that
changes the computation (padding, activation, batch-norm constants) is stated,
so that an `Arch` alone is enough to count, time, build and export a network.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import os
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from tfnas import artifacts
from tfnas import fields
from tfnas.fields import Fields

FORMAT = "tfnas-arch/1"
_BLOCK_FIELDS = ("op", "in", "out", "stride", "stage")
_ARCH_FIELDS = ("format", "space", "input_shape", "classes", "blocks")
_MAX_SIZE = 1 << 20  # of any integer in a file: larger is a broken file
_SIZE = fields.whole(1, _MAX_SIZE)


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted((k, _freeze(v)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(v) for v in value)
    return value


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One operator of a network with its widths and stride.

    Args:
        op: Name of a registered op, such as `"mbconv"`.
        in_channels: Width of the input, in the op's own units.
        out_channels: Width of the output.
        stride: 1 or 2.
        stage: Index of the group the block belongs to; it labels drawings and
            published encodings and changes nothing that is computed.
        attrs: The op's own attributes, JSON values only, such as
            `{"k": 3, "e": 6}`.
    """

    op: str
    in_channels: int
    out_channels: int
    stride: int = 1
    stage: int = 0
    attrs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def _key(self) -> tuple:
        return tuple(
            _freeze(getattr(self, f.name)) for f in dataclasses.fields(self)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Block) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def to_json(self) -> dict[str, Any]:
        """Returns the block as a JSON object."""
        return {
            "op": self.op,
            "in": self.in_channels,
            "out": self.out_channels,
            "stride": self.stride,
            "stage": self.stage,
            **self.attrs,
        }

    @classmethod
    def from_json(cls, value: Any, source: str, field: str) -> Block:
        """Reads a block.

        Args:
            value: Parsed JSON.
            source: File name for error messages.
            field: Where in the file the block stands.

        Returns:
            A `Block`.

        Raises:
            ArtifactError: naming the field that is wrong.
        """
        given = Fields(value, source, field).values
        block = Fields({"stride": 1, "stage": 0, **given}, source, field)
        attrs = {k: v for k, v in value.items() if k not in _BLOCK_FIELDS}
        return cls(
            block.need("op", fields.TEXT),
            block.need("in", _SIZE),
            block.need("out", _SIZE),
            block.need("stride", fields.one_of((1, 2))),
            block.need("stage", fields.whole(0, _MAX_SIZE)),
            attrs,
        )


@dataclasses.dataclass(frozen=True)
class Arch:
    """A network: blocks in order, input shape, number of classes.

    Args:
        blocks: The blocks in order; each takes the output of the one before.
        input_shape: `(height, width, channels)` of the image, or `(steps,)`
            of a sequence.
        classes: Width of the logits.
        space: Name of the search space it was drawn from, or `None`.

    Example:
        >>> arch = tfnas.spaces.get("densenas_mbv2@32").sample(seed=0)
        >>> arch
        <Arch 515119a7dcf6: 11 blocks, 32x32x3, 10 classes, of densenas_mbv2@32>
        >>> arch.save("arch.json")
        >>> tfnas.Arch.load("arch.json") == arch
        True
    """

    blocks: tuple[Block, ...]
    input_shape: tuple[int, ...]
    classes: int
    space: str | None = None

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        origin = f", of {self.space}" if self.space else ""
        return (
            f"<Arch {self.id}: {len(self.blocks)} blocks, {shape}, "
            f"{self.classes} classes{origin}>"
        )

    def summary(
        self, table: Any = None, print_fn: Callable[[str], Any] = print
    ) -> None:
        """Prints the blocks with their shapes, parameters and multiply-adds.

        Args:
            table: A `LatencyTable` that prices them, or `None`.
            print_fn: What is called with the text.

        Raises:
            LutMiss: when the table cannot price the network.
        """
        # By name, when it is called: operators are made of what stands here.
        summaries = importlib.import_module("tfnas.cost.summaries")
        print_fn(summaries.of_arch(self, table))

    @functools.cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that name this network.

        The id covers everything but the name of the space: the same network
        found in two spaces is the same network.
        """
        value = self.to_json()
        del value["space"]
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Returns the network as a JSON object of format `tfnas-arch/1`."""
        return {
            "format": FORMAT,
            "space": self.space,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "blocks": [b.to_json() for b in self.blocks],
        }

    @classmethod
    def from_json(cls, value: Any, source: str = "arch") -> Arch:
        """Reads a network from parsed JSON.

        Op names and attributes are not looked at here: they are checked
        against the registry when a space or a builder meets them.

        Args:
            value: Parsed JSON of format `tfnas-arch/1`.
            source: File name for error messages.

        Returns:
            An `Arch`.

        Raises:
            ArtifactError: naming the source and the field that is wrong.
        """
        arch = Fields(value, source)
        arch.need("format", fields.one_of((FORMAT,)))
        arch.only(_ARCH_FIELDS)
        shape = arch.each("input_shape", _SIZE)
        if len(shape) not in (1, 3):
            arch.refuse("input_shape", "[height, width, channels]", shape)
        return cls(
            tuple(
                Block.from_json(block, source, f"blocks[{i}]")
                for i, block in enumerate(arch.need("blocks", fields.FILLED))
            ),
            shape,
            arch.need("classes", _SIZE),
            arch.need("space", fields.optional(fields.STRING)),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the network to a JSON file, atomically."""
        artifacts.write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Arch:
        """Reads a network from a JSON file.

        Raises:
            ArtifactError: when the file is missing, truncated, of another
                format, or a field is wrong; the message names both.
        """
        return cls.from_json(artifacts.read_json(path, FORMAT), str(path))
