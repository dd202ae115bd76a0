"""Words that sentences share: a count with its noun, names in a row."""

from collections.abc import Sequence
from typing import Any


def count_of(count: float, noun: str, many: str = "") -> str:
    """``1 row``, ``1,200 rows``; ``2 tries``, where ``many`` is "tries"."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"


def listed(names: Sequence[Any], most: int) -> str:
    """``a, b and 3 more``."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")
