"""Search algorithms and the runner that makes them resumable."""

from tfnas.search.base import SearchResult
from tfnas.search.runner import run_search

__all__ = ["SearchResult", "run_search"]
