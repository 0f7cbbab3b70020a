"""Search spaces: data that says which networks there are."""

from tfnas.spaces import dense as _dense  # noqa: F401  (registers spaces)
from tfnas.spaces.base import Space
from tfnas.spaces.base import get
from tfnas.spaces.base import names

__all__ = ["Space", "get", "names"]
