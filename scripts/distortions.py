"""Random affine and elastic distortions of images, by array API operations: a ``transform`` for ``mlp_xp.train``.

A distorted pixel is read between four pixels of the image: at its place after a random rotation, scaling and shift, and
moved by a smooth random field. All randomness is a hash of the step's seed and the row, so that one seed gives the same
images on every array library, and a step with distortions can be compiled.

Source: Simard, Steinkraus and Platt, Best practices for convolutional neural networks applied to visual document
analysis, 2003.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from mlp_xp.dropout import uniform


class Distortions(NamedTuple):
    """How far images are distorted, at most; each number is drawn uniformly from both sides of 0.

    rotation: in degrees.
    scaling: of each axis by itself, as a share.
    shear: of the columns by the rows, as a share.
    shift: along each axis, in pixels.
    strength: of the elastic field, ``alpha`` of the paper, in pixels before it is smoothed; 0 for none.
    smoothness: of the elastic field, ``sigma`` of the paper, in pixels.
    """

    rotation: float = 0.0
    scaling: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    strength: float = 0.0
    smoothness: float = 4.0


def distorting(image: tuple[int, int], how: Distortions) -> Callable[[Any, Any, Any], Any]:
    """``transform(X, seed, first) -> X`` for images of ``image`` = (height, width) pixels, a row of X each."""
    height, width = image

    def transform(X: Any, seed: Any, first: Any) -> Any:
        xp = array_namespace(X)
        down, across = _affine(xp, X, image, how, seed, first)
        if how.strength:
            fields = _elastic(xp, X, image, how, seed, first)
            down, across = down + fields[:, 0, :, :], across + fields[:, 1, :, :]
        return _read_between(xp, X, height, width, down, across)

    return transform


def _places(xp: Any, X: Any, size: int) -> Any:
    return xp.arange(size, dtype=X.dtype, device=device(X))


def _affine(xp: Any, X: Any, image: tuple[int, int], how: Distortions, seed: Any, first: Any) -> tuple[Any, Any]:
    """Where each pixel is read, (n, height, width) rows and columns, after the affine map around the middle."""
    n, (height, width) = X.shape[0], image
    draws = 2.0 * uniform(xp, (n, 6), seed, 0, X, first) - 1.0
    angle, tall, wide, slant, up, left = (draws[:, i, None, None] for i in range(6))
    angle = angle * math.radians(how.rotation)
    y = _places(xp, X, height)[None, :, None] - 0.5 * (height - 1)
    x = _places(xp, X, width)[None, None, :] - 0.5 * (width - 1)
    x = x + how.shear * slant * y
    tall, wide = 1.0 + how.scaling * tall, 1.0 + how.scaling * wide
    down = tall * (xp.cos(angle) * y + xp.sin(angle) * x) + how.shift * up
    across = wide * (xp.cos(angle) * x - xp.sin(angle) * y) + how.shift * left
    return down + 0.5 * (height - 1), across + 0.5 * (width - 1)


def _elastic(xp: Any, X: Any, image: tuple[int, int], how: Distortions, seed: Any, first: Any) -> Any:
    """Two smooth fields for each image, (n, 2, height, width): uniform noise convolved with a Gaussian, in pixels."""
    n, (height, width) = X.shape[0], image
    noise = 2.0 * uniform(xp, (n, 2 * height * width), seed, 1, X, first) - 1.0
    noise = xp.reshape(noise, (n, 2, height, width))
    # a Gaussian of two variables is a product of two of one: a matrix from each side
    return how.strength * (_gaussian(xp, X, height, how) @ noise @ _gaussian(xp, X, width, how))


def _gaussian(xp: Any, X: Any, size: int, how: Distortions) -> Any:
    """The convolution with a Gaussian along an axis, as a symmetric matrix (size, size); outside there is no noise."""
    at = _places(xp, X, size)
    scale = 1.0 / (how.smoothness * math.sqrt(2.0 * math.pi))
    return scale * xp.exp(-0.5 * ((at[:, None] - at[None, :]) / how.smoothness) ** 2)


def _read_between(xp: Any, X: Any, height: int, width: int, down: Any, across: Any) -> Any:
    """The image at places between its pixels, bilinear, (n, height * width); 0 outside of it."""
    n, wide = X.shape[0], width + 2
    images = xp.reshape(X, (n, height, width))
    rim = xp.zeros_like(images[:, :, :1])
    images = xp.concat([rim, images, rim], axis=2)  # a rim of 0, where all that is outside is read
    rim = xp.zeros_like(images[:, :1, :])
    flat = xp.reshape(xp.concat([rim, images, rim], axis=1), (-1,))
    down, across = xp.clip(down + 1.0, 0.0, height + 1.0), xp.clip(across + 1.0, 0.0, width + 1.0)
    top, left = xp.floor(xp.clip(down, 0.0, float(height))), xp.floor(xp.clip(across, 0.0, float(width)))
    share_down, share_across = (xp.reshape(each, (-1,)) for each in (down - top, across - left))
    image = xp.arange(n, dtype=xp.int32, device=device(X))[:, None, None] * ((height + 2) * wide)
    at = image + xp.astype(top, xp.int32) * wide + xp.astype(left, xp.int32)
    at = xp.reshape(at, (-1,))
    corners = [xp.take(flat, at + offset, axis=0) for offset in (0, 1, wide, wide + 1)]
    above = corners[0] + share_across * (corners[1] - corners[0])
    below = corners[2] + share_across * (corners[3] - corners[2])
    return xp.reshape(above + share_down * (below - above), (n, height * width))
