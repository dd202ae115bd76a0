"""The distortions of images that the reproduced results train with: against SciPy's, one image a seed and a row."""

from __future__ import annotations

import numpy as np
import pytest
from distortions import Distortions, distorting
from marks import EAGER
from scipy import ndimage

SHAPE = (7, 9)
ALL = Distortions(rotation=20.0, scaling=0.2, shear=0.2, shift=1.5, strength=20.0, smoothness=2.0)


def images(n=5):
    return np.random.default_rng(0).random((n, SHAPE[0] * SHAPE[1]))


def drawn(xp, put, host, shape, seed, stream):
    """The random numbers of -1 to 1 that a transform draws."""
    from mlp_xp.dropout import uniform

    return 2.0 * host(uniform(xp, shape, seed, stream, put(np.zeros(1)))) - 1.0


def by_scipy(X, draws, noise, how):
    """Each image by itself: the affine map and the smooth field, then SciPy's interpolation between pixels."""
    height, width = SHAPE
    made = []
    for image, (angle, tall, wide, slant, up, left), field in zip(X.reshape(-1, *SHAPE), draws, noise, strict=True):
        y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
        x = x + how.shear * slant * y
        turn = np.radians(how.rotation * angle)
        down = (1 + how.scaling * tall) * (np.cos(turn) * y + np.sin(turn) * x) + how.shift * up
        across = (1 + how.scaling * wide) * (np.cos(turn) * x - np.sin(turn) * y) + how.shift * left
        smooth = [ndimage.gaussian_filter(each, how.smoothness, mode="constant", truncate=8) for each in field]
        places = down + (height - 1) / 2 + how.strength * smooth[0], across + (width - 1) / 2 + how.strength * smooth[1]
        padded = np.pad(image, 1)  # between the edge and what is outside SciPy has a jump
        made.append(ndimage.map_coordinates(padded, [each + 1 for each in places], order=1, mode="constant"))
    return np.stack(made).reshape(len(X), -1)


@EAGER
def test_images_are_moved_as_scipy_moves_them(xp, put, host):
    X, transform = images(), distorting(SHAPE, ALL)
    noise = drawn(xp, put, host, (5, 2 * 63), 11, 1).reshape(5, 2, *SHAPE)
    expected = by_scipy(X, drawn(xp, put, host, (5, 6), 11, 0), noise, ALL)
    ours = host(transform(put(X), 11, None))
    # SciPy's Gaussian is divided by its sum, which for a deviation of 2 pixels is 1 to some 1e-8
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert np.mean(np.abs(ours - X)) > 0.1


@EAGER
def test_without_distortions_images_stay_and_parts_of_a_batch_are_parts(xp, put, host):
    X = images()
    np.testing.assert_allclose(host(distorting(SHAPE, Distortions())(put(X), 3, None)), X, rtol=1e-14)
    transform = distorting(SHAPE, ALL)
    whole = host(transform(put(X), 3, None))
    part = host(transform(put(X[2:]), 3, put(np.asarray(2, dtype=np.int32))))
    np.testing.assert_allclose(part, whole[2:], rtol=1e-13, atol=1e-14)
    assert not np.allclose(whole, host(transform(put(X), 4, None)))
    assert transform(put(X, xp.float32), 3, None).dtype == xp.float32


@pytest.mark.only("jax")
def test_a_distortion_is_compiled_with_the_seed_as_an_array(xp, put, host):
    import jax

    X, transform = put(images()), distorting(SHAPE, ALL)
    compiled = jax.jit(lambda X, seed: transform(X, seed, None))
    np.testing.assert_allclose(host(compiled(X, xp.asarray(3))), host(transform(X, 3, None)), atol=1e-12)
