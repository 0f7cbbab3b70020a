"""The weight-sharing supernet of a space of kernel, width and depth codes.

All networks of the space are parts of the largest one. A step runs and
updates one or a few of them, given by their codes, in one trace for all.
Source: Cai et al. 2020 (Once-for-All), as used by Chen et al. 2022 (ASE-NAS).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnas import ops
from tfnas.arch import Arch
from tfnas.spaces.coded import Codes
from tfnas.spaces.elastic import ElasticSpace
from tfnas.supernets.base import Selected
from tfnas.supernets.elastic_layers import BATCH
from tfnas.supernets.elastic_layers import COLLECT
from tfnas.supernets.elastic_layers import ElasticFunctions
from tfnas.supernets.elastic_layers import ElasticLayer


class ElasticSupernet:
    """All networks of an elastic space in one set of weights.

    A subnet is given by the codes of the space. Normalisations hold no
    moving averages: `record` gives the network the statistics of one subnet
    (see `recalibrate`).

    Args:
        space: The space.
        seed: Seed of the initial weights.
        bn_groups: Normalise each batch in this many equal parts.

    Attributes:
        layers: One for each block of the largest network.
        variables: All weights, in the order of the layers.
        statistics: `(2, channels)`: mean and variance of each channel that
            is normalised, of the subnet recorded last.
        largest: Codes of the largest network.
    """

    def __init__(self, space: ElasticSpace, seed: int = 0, bn_groups: int = 1):
        spec, self.space = space.spec, space
        sides = [len(spec.resolutions) - 1] if spec.resolutions else []
        last = len(spec.operations) - 1
        self.largest: Codes = (*sides, *[last] * spec.slots)
        self.layers = self._make_layers(seed, ElasticFunctions(bn_groups))
        self.variables = [v for layer in self.layers for v in layer.weights]
        channels = sum(layer.channels for layer in self.layers)
        self.statistics = tf.Variable(
            tf.zeros([2, channels]), trainable=False, name="statistics"
        )
        self._recorded: Codes | None = None

    def _make_layers(
        self, seed: int, functions: ElasticFunctions
    ) -> list[ElasticLayer]:
        space, spec = self.space, self.space.spec
        codes = range(1, len(spec.operations))
        absent = space.legal[-spec.slots :, 0]
        places = [([block], False) for block in space.stem()]
        places += [
            ([space.layer(slot, code) for code in codes], bool(absent[slot]))
            for slot in range(spec.slots)
        ]
        places += [([block], False) for block in space.tail()]
        shapes = ops.shapes(space.from_codes(self.largest))
        return [
            ElasticLayer(
                f"b{i:02d}_{blocks[-1].op}", blocks, shapes[i], seed,
                functions, optional,
            )
            for i, (blocks, optional) in enumerate(places)
        ]

    def _layer_codes(self, codes: tf.Tensor) -> list[tf.Tensor]:
        """Splits codes `(..., length)` by layer; fixed ones have code 1."""
        slots = tf.unstack(codes[..., -self.space.spec.slots :], axis=-1)
        one = tf.ones_like(slots[0])
        before, after = len(self.space.stem()), len(self.space.tail())
        return [one] * before + slots + [one] * after

    def select(self, codes: tf.Tensor) -> list[Selected]:
        """Returns the weights, gated where no subnet has their layer.

        Args:
            codes: `(subnets, length)`.
        """
        return [
            selected
            for layer, code in zip(
                self.layers, self._layer_codes(codes), strict=True
            )
            for selected in layer.select(code)
        ]

    def __call__(
        self, images: tf.Tensor, codes: tf.Tensor,
        values: Sequence[tf.Tensor], mode: str = BATCH,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs one subnet.

        Args:
            images: `(batch, height, width, channels)` of the largest size.
            codes: `(length,)`.
            values: The values of `variables`.
            mode: What to normalise by: `BATCH`, `COLLECT` or `RECORDED`.

        Returns:
            Logits `(batch, classes)`, and the moments `(2, channels)` of the
            batch in the mode `COLLECT`.
        """
        x, rest = self._resize(images, codes), list(values)
        statistics, moments = self.statistics.read_value(), []
        for layer, code in zip(
            self.layers, self._layer_codes(codes), strict=True
        ):
            count = len(layer.weights)
            x, found = layer(
                x, code, rest[:count], statistics[:, : layer.channels], mode
            )
            rest, statistics = rest[count:], statistics[:, layer.channels :]
            moments.append(found)
        return x, tf.concat(moments, 1)

    def _resize(self, images: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """Resizes to the side that the first code chooses, if one does."""
        sides = self.space.spec.resolutions
        if not sides:
            return images
        side = tf.gather(tf.constant(sides), codes[0])
        return tf.image.resize(images, [side, side])

    @functools.cached_property
    def moments(self) -> tf.types.experimental.GenericFunction:
        """A function `(images, codes)` to the moments of a subnet's batch."""

        def run(images, codes):
            values = [v.read_value() for v in self.variables]
            return self(images, codes, values, COLLECT)[1]

        specs = [
            tf.TensorSpec([None] * 4),
            tf.TensorSpec([self.space.length], tf.int32),
        ]
        return tf.function(run, specs, autograph=False)

    def record(self, codes: Iterable[int], statistics: tf.Tensor) -> None:
        """Sets the statistics of a subnet, for the mode `RECORDED`.

        Args:
            codes: The subnet's codes.
            statistics: `(2, channels)`, as `moments` gives them.
        """
        self.statistics.assign(statistics)
        self._recorded = tuple(codes)

    def weights_for(self, arch: Arch) -> list[list[np.ndarray]]:
        """Returns the weights of a single network, block by block.

        They are those that `derive.load_weights` takes, normalisations
        included.

        Args:
            arch: A network of the space; its statistics must be the ones
                recorded last.

        Raises:
            ValueError: when they are not.
        """
        codes = self.space.codes(arch)
        if codes != self._recorded:
            raise ValueError(
                f"The statistics of {codes} must be recorded first. "
                f"Received: those of {self._recorded}"
            )
        statistics, result = self.statistics.numpy(), []
        for layer, code in zip(
            self.layers, self._layer_codes(tf.constant(codes)), strict=True
        ):
            own = statistics[:, : layer.channels]
            statistics = statistics[:, layer.channels :]
            if int(code):
                result.append(layer.weights_of(int(code), own))
        return result
