"""Numbers as bins between quantiles, each of which is filled as far as the number reaches into it.

Source: Gorishniy, Rubachev and Babenko, On embeddings for numerical features in tabular deep learning, NeurIPS 2022,
equation 1, with the bins of section 3.2.1.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 16


def edges_of(x: NDArray[Any], bins: int = BINS) -> tuple[float, ...]:
    """The edges of bins with about as many of the numbers ``x`` (n,) each; () where there are no two bins.

    >>> edges_of(np.arange(9.0), bins=4)
    (0.0, 2.0, 4.0, 6.0, 8.0)
    >>> edges_of(np.asarray([0.0, 1.0, 1.0]))
    ()
    """
    known = x[~np.isnan(x)]
    if not len(known):
        return ()
    edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, bins + 1), method="lower"))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


def filled_bins(x: NDArray[Any], edges: tuple[float, ...]) -> NDArray[Any]:
    """How far each number reaches into each bin: (n,) -> (n, bins).

    A bin below the number is 1, one above it is 0. The first bin goes on below 0, and the last above 1, so that no
    number is lost.

    >>> filled_bins(np.asarray([-1.0, 3.0, 9.0]), (0.0, 2.0, 4.0)).tolist()
    [[-0.5, 0.0], [1.0, 0.5], [1.0, 3.5]]
    """
    low, high = np.asarray(edges[:-1]), np.asarray(edges[1:])  # in float64: in float32 two edges may be one
    share = (x[:, None] - low) / (high - low)
    share[:, 1:] = np.maximum(share[:, 1:], 0.0)
    share[:, :-1] = np.minimum(share[:, :-1], 1.0)
    filled: NDArray[Any] = share.astype(x.dtype)
    return filled


def names_of(name: str, edges: tuple[float, ...]) -> tuple[str, ...]:
    """The names of the bins: ``name 0 to 2``, and so on."""
    return tuple(f"{name} {low:g} to {high:g}" for low, high in pairwise(edges))
