"""Search algorithms and the runner that makes them resumable."""

from tfnas import keras_checked as _keras_checked
from tfnas.search.base import SearchResult
from tfnas.search.runner import run_search

_FIRST = (_keras_checked,)  # imported for what it refuses

__all__ = ["SearchResult", "run_search"]
