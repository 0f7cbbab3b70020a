"""Search spaces: data that says which networks there are.

Example:
    >>> tfnas.spaces.get("nasbench201")
    <NasBench201Space nasbench201: 32x32x3, 10 classes, 15,625 choices>
"""

from collections.abc import Callable
from typing import Any

from tfnas.spaces import accel_nasbench as _accel_nasbench  # noqa: F401
from tfnas.spaces import autospace as _autospace  # noqa: F401
from tfnas.spaces import candidates as _candidates  # noqa: F401
from tfnas.spaces import dag as _dag  # noqa: F401
from tfnas.spaces import dense as _dense  # noqa: F401
from tfnas.spaces import elastic as _elastic  # noqa: F401
from tfnas.spaces import nasbench201 as _nasbench201  # noqa: F401
from tfnas.spaces import nasbench_macro as _nasbench_macro  # noqa: F401
from tfnas.spaces import recurrent as _recurrent  # noqa: F401
from tfnas.spaces import summaries as _summaries
from tfnas.spaces.base import Space
from tfnas.spaces.base import get
from tfnas.spaces.base import names

__all__ = ["Space", "get", "names", "summary"]


def summary(
    table: Any = None, samples: int = _summaries.SAMPLES,
    print_fn: Callable[[str], Any] = print,
) -> None:
    """Prints a table of all spaces.

    Input size, number of choices, then multiply-adds and parameters in
    millions: the least, the median and the most of some random networks.
    Under a latency table, the latencies of those spaces follow whose networks
    it can price.

    Args:
        table: A `LatencyTable`, or `None`.
        samples: Number of networks of each space: those of the seeds 0, 1, ...
        print_fn: What is called with the text.

    Example:
        >>> tfnas.spaces.summary(tfnas.LatencyTable.load("table.json"))
        >>> tfnas.spaces.get("nasbench201").summary()
    """
    every = [get(name) for name in names()]
    print_fn(_summaries.of_all(every, table, samples))
