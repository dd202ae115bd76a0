"""Pictures of weights, and files that are written whole or not at all."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.figure import Figure
from matplotlib.image import imread

from mlp_xp import plots

pytestmark = pytest.mark.only("numpy")


def a_figure() -> Any:
    return Figure(figsize=(3, 2), dpi=100)


def test_a_picture_that_cannot_be_written_whole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a good one")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plots.save(a_figure(), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert picture.read_bytes() == b"a good one"


def test_a_picture_that_is_not_written_leaves_nothing_that_fails_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view of the bytes of a ``BytesIO`` in a cycle ended CPython 3.12.1, and was a ``BufferError`` on 3.13."""
    failed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", failed.append)
    try:
        plots.save(a_figure(), tmp_path / "none" / "a.png")
    except OSError as error:
        kept: list[Any] = [error]
        kept.append(kept)  # a cycle, which holds the frames of the error
        del kept
    else:
        pytest.fail("the folder is not there")
    gc.collect()
    assert failed == []


def test_a_picture_goes_where_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    plots.save(a_figure(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert imread(tmp_path / "target.png").shape == (200, 300, 4)


@pytest.mark.parametrize("image_shape", [None, (2, 3)])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("units", [1, 10, 100])
def test_the_picture_shows_the_weights(units: int, named: bool, image_shape: tuple[int, int] | None) -> None:
    weight = np.random.default_rng(0).normal(size=(6, units))
    axes = Figure().subplots()
    plots.draw_weights(axes, weight, image_shape, [str(i) for i in range(units)] if named else None)
    assert axes.figure.axes[1].get_ylabel() == "weight (per unit of input)"
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    if image_shape is None or units <= 64:  # every weight is in the picture, once
        np.testing.assert_array_equal(np.sort(drawn[np.isfinite(drawn)]), np.sort(weight, axis=None))
    else:
        assert np.isfinite(drawn).sum() == 64 * 6
    if image_shape is not None and named:
        assert [text.get_text() for text in axes.texts] == [str(i) for i in range(min(units, 64))]
        np.testing.assert_array_equal(drawn[1:3, :3], weight[:, 0].reshape(2, 3))
