"""Words that sentences share, a count with its noun, a size, names in a row; and a sentence as a warning."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any


def count_of(count: float, noun: str, many: str = "") -> str:
    """``1 row``, ``1,200 rows``; ``2 tries``, where ``many`` is "tries"."""
    return f"{count:,} {noun if count == 1 else many or f'{noun}s'}"


def readable(value: float, unit: str) -> str:
    """Three digits and a prefix: ``163 MFLOP``, ``2.1 GB``."""
    value = float(min(value, 10**300))  # Python's whole numbers have no end
    for prefix in ("", "k", "M", "G", "T", "P"):
        if value < 999.5 or prefix == "P":
            break
        value /= 1000.0
    return f"{value:.3g} {prefix}{unit}".rstrip()


def listed(names: Sequence[Any], most: int) -> str:
    """``a, b and 3 more``."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")


_BETWEEN = {"mlp_xp", "sklearn", "joblib", "contextlib", "functools"}
"""Packages through which a call of a user reaches the line that warns: pipelines, searches, decorators."""


class _Sentence(str):
    """The text of a warning of this package's own."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's own code that called this package, directly or through scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(_Sentence(message), category, stacklevel=level)


def is_own(warning: Warning | str) -> bool:
    """Whether ``warn`` gave this warning: its text is for users, that of another library's is about code."""
    return isinstance(warning, Warning) and isinstance(next(iter(warning.args), None), _Sentence)
