"""Targets of each kind that scikit-learn's networks learn, for tests of the conversions of networks."""

from __future__ import annotations

from typing import Any

import numpy as np

KINDS = ["names", "two numbers", "labels", "number", "numbers", "counts"]


def targets(kind: str, X: Any, y: Any) -> Any:
    """Targets of a kind, from the standardised irises and their classes."""
    return {
        "names": np.asarray(["c", "a", "b"])[y],
        "two numbers": 3 * (y == 1) - 1,
        "labels": np.stack([y > 0, y > 1], axis=1).astype(int),
        "number": X[:, 0],
        "numbers": X[:, 1:3],
        "counts": y.astype(float),
    }[kind]
