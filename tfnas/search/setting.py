"""What a search is made from: its config, and what the config names."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING
from typing import Any

from tfnas import data
from tfnas import spaces
from tfnas.cost.lut import LatencyTable
from tfnas.cost.models import Cost
from tfnas.cost.models import MaddsCost
from tfnas.cost.models import TableCost
from tfnas.data.text import Text
from tfnas.data.text import is_text
from tfnas.data.text import load_text
from tfnas.spaces.base import Space

if TYPE_CHECKING:  # tables are searched without TensorFlow
    from tfnas.train.loop import Loop

NO_DATA = "none"  # a search that reads a table needs no images


@dataclasses.dataclass(frozen=True)
class Setting:
    """A config with what it names, each loaded when it is first asked for.

    Args:
        config: The whole config.
        loop: The gradient loop that runs the phases of the search.
        table: The latency table, or `None` to count multiply-adds.
    """

    config: Any
    loop: Loop
    table: LatencyTable | None

    @functools.cached_property
    def dataset(self) -> data.Dataset:
        """The data set of `config.data`."""
        return data.load(self.config.data)

    @functools.cached_property
    def splits(self) -> tuple[Any, Any]:
        """Training images for the weights, and those for the choices."""
        return self.dataset.search_splits(
            self.config.search.split, self.config.seed
        )

    @functools.cached_property
    def text(self) -> Text:
        """The text of `config.data`, for language models."""
        return load_text(self.config.data)

    @functools.cached_property
    def space(self) -> Space:
        """The space of `config.space`, in the shape of the data.

        With `config.data.name = "none"` it has its own shape and classes.
        """
        if self.config.data.name == NO_DATA:
            return spaces.get(self.config.space)
        if is_text(self.config.data.name):
            return spaces.get(
                self.config.space, len(self.text.vocabulary),
                (self.config.search.training.bptt,),
            )
        return spaces.get(
            self.config.space, self.dataset.classes, self.dataset.image_shape
        )

    @functools.cached_property
    def cost(self) -> Cost:
        """What networks cost: latency by the table, or multiply-adds."""
        return MaddsCost() if self.table is None else TableCost(self.table)

    @property
    def target(self) -> float | None:
        """Cost to aim at, in the unit of the cost."""
        if self.table is not None:
            return self.config.target_ms
        madds = self.config.target_madds
        return None if madds is None else madds / 1e6

    @property
    def max_cost(self) -> float | None:
        """Hard limit of the cost, in its unit."""
        if self.table is not None:
            return self.config.get("max_latency_ms")
        madds = self.config.get("max_madds")
        return None if madds is None else madds / 1e6
