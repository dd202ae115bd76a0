"""Words that sentences share, a count with its noun, names in a row; and a sentence as a warning."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any


def count_of(count: float, noun: str, many: str = "") -> str:
    """``1 row``, ``1,200 rows``; ``2 tries``, where ``many`` is "tries"."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"


def listed(names: Sequence[Any], most: int) -> str:
    """``a, b and 3 more``."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")


_BETWEEN = {"mlp_xp", "sklearn", "joblib", "contextlib", "functools"}
"""Packages through which a call of a user reaches the line that warns: pipelines, searches, decorators."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's own code that called this package, directly or through scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
