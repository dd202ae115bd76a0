"""The picture of a training run: how the loss fell, and what the first layer looks for.

Written whole or not at all: an interrupted run leaves neither half a file nor a bad one in the place of a good one.

Before: ``cli`` collects what is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mlp_xp._files import beside_target, write_whole

# Okabe and Ito's colours, told apart with any colour vision; the lines differ in their dashes besides
_TRAINING, _VALIDATION = "#0072B2", "#D55E00"

# from one hue through white to another: brown and teal, or purple and orange, differ for everybody
_DIVERGING = "PuOr_r"

_MOST_TILES = 64


class Curves(NamedTuple):
    """One number per epoch.

    training, validation: mean cross-entropy in nats, measured alike: no penalties, no smoothing, no dropout.
    accuracy: share of validation rows that are right.
    """

    training: Sequence[float]
    validation: Sequence[float]
    accuracy: Sequence[float]


def training_figure(
    title: str, curves: Curves, weight: NDArray[Any], image_shape: tuple[int, int] | None, classes: bool = False
) -> Figure:
    """Loss and accuracy over the epochs on the left, the first layer's weight (d_in, d_h) on the right.

    Each column of the weight is a small image where the inputs are images, else the weight is one heat map.

    Args:
        title: a heading.
        curves: what is known of each epoch, at least one.
        weight: on the host.
        image_shape: (height, width) of an input.
        classes: whether the first layer is the last one too, so that each column stands for a class.
    """
    figure = Figure(figsize=(11, 5.5), dpi=120, layout="constrained")
    figure.suptitle(title)
    areas: Any = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    left, right = areas
    _draw_curves(left, curves)
    if image_shape is None:
        _draw_heat_map(right, weight, "class" if classes else "hidden unit")
    else:
        _draw_tiles(right, weight, image_shape, classes)
    return figure


def _draw_curves(area: SubFigure, curves: Curves) -> None:
    loss, accuracy = area.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    epochs = range(1, len(curves.training) + 1)
    marker = "o" if len(epochs) < 10 else None  # a line through one point shows nothing
    loss.plot(epochs, curves.training, color=_TRAINING, linestyle="--", marker=marker, label="training")
    loss.plot(epochs, curves.validation, color=_VALIDATION, marker=marker, label="validation")
    loss.set_ylabel("cross-entropy (nats)")
    loss.set_ylim(0.0, 1.05 * max(*curves.training, *curves.validation))
    loss.legend(frameon=False)
    accuracy.plot(epochs, [100.0 * share for share in curves.accuracy], color=_VALIDATION, marker=marker)
    accuracy.set_ylabel("validation accuracy (%)")
    accuracy.set_xlabel("epoch")
    accuracy.set_xlim(0.5, len(epochs) + 0.5)
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    area.align_ylabels()


def _draw_tiles(area: SubFigure, weight: NDArray[Any], image_shape: tuple[int, int], classes: bool) -> None:
    """Classes in their order, else the units with the largest norms, largest first; one picture, one colour scale."""
    units = weight.shape[1]
    largest_first = np.argsort(-np.linalg.norm(weight, axis=0), kind="stable")
    shown = (np.arange(units) if classes else largest_first)[:_MOST_TILES]
    which = f"all {units}" if len(shown) == units else f"{len(shown)} of {units}"
    kind = "classes" if classes else "hidden units, largest norm first"
    side = math.ceil(math.sqrt(len(shown)))
    columns = min(range(side, side + 3), key=lambda columns: -len(shown) % columns)  # few places stay empty

    height, width = image_shape
    gap = max(1, round(width / 10))
    above = math.ceil(height / 4) if classes else gap  # room for a class's label
    down, across = height + above, width + gap
    mosaic = np.full((math.ceil(len(shown) / columns) * down, columns * across - gap), np.nan)
    axes: Axes = area.subplots()
    axes.set_title(f"first-layer weights: {which} {kind}", fontsize="medium")
    for position, unit in enumerate(shown):
        top, left = position // columns * down + above, position % columns * across
        mosaic[top : top + height, left : left + width] = weight[:, unit].reshape(image_shape)
        if classes:
            axes.text(left + width / 2, top - above / 4, str(unit), ha="center", va="bottom", fontsize="small")
    axes.set_axis_off()
    _draw_image(area, axes, mosaic, "equal")


def _draw_heat_map(area: SubFigure, weight: NDArray[Any], column: str) -> None:
    axes: Axes = area.subplots()
    axes.set_title("first-layer weights", fontsize="medium")
    axes.set_xlabel(column)
    axes.set_ylabel("input")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _draw_image(area, axes, weight, "auto")


def _draw_image(area: SubFigure, axes: Axes, values: NDArray[Any], aspect: Literal["equal", "auto"]) -> None:
    """NaN stays white. A few outliers must not bleach the rest: the symmetric scale ends at a percentile."""
    limit = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
    image = axes.imshow(values, cmap=_DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect)
    area.colorbar(image, ax=axes, label="weight (per unit of input)", shrink=0.8, extend="both")


# --- the file ----------------------------------------------------------------------------------------------------


def check_output(path: str | Path) -> None:
    """Raise ``ValueError`` unless ``path`` can become a .png file: asked before the work, not after it."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"the output must be a .png file, got {str(path)!r}")
    if path.exists() and not path.is_file():
        raise ValueError(f"the output must be a file, got {str(path)!r}, which is something else")
    try:
        temporary = beside_target(path)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise ValueError(f"the output {str(path)!r} can't be written: {error.strerror}") from None


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` as a PNG, whole or not at all."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getbuffer())
