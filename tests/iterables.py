"""Iterables of batches as libraries of data make them, for tests of the loop and of the estimators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Unsized:
    """An iterable that can be gone through again and does not know its length; it counts its passes."""

    def __init__(self, batches: Any) -> None:
        self.batches, self.passes = batches, 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        return iter(self.batches)
