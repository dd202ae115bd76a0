"""Pictures of a training run: how the loss fell, and what the first layer looks for, drawn into axes that are given.

Written whole or not at all: an interrupted run leaves neither half a file nor a bad one in the place of a good one.

Before: ``cli`` and ``estimators.displays`` collect what is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mlp_xp._lib.files import write_whole

# Okabe and Ito's colours, told apart with any colour vision; the lines differ in their dashes besides
TRAINING, VALIDATION = "#0072B2", "#D55E00"

# from one hue through white to another: brown and teal, or purple and orange, differ for everybody
_DIVERGING = "PuOr_r"

_LOGARITHMIC = 30  # times the smallest loss
_MOST_TILES = 64
_MOST_NAMES = 30  # beside an axis


# --- curves ------------------------------------------------------------------------------------------------------


def draw_losses(
    axes: Axes, losses: Mapping[str, Sequence[float]], name: str, best: int | None = None
) -> tuple[list[Line2D], Line2D | None]:
    """One or two losses of each epoch, the last of them ringed at epoch ``best``; these lines.

    The scale begins at 0, unless a loss falls so far that its end could not be told from there: then it is logarithmic.
    """
    lines: list[Line2D] = []
    for label, values in losses.items():
        colour, dashes = (VALIDATION, "-") if lines else (TRAINING, "--")
        lines.append(draw_line(axes, values, name, label=label, color=colour, linestyle=dashes))
    finite = [value for values in losses.values() for value in values if math.isfinite(value)]
    smallest, largest = min(finite, default=0.0), max(finite, default=0.0)
    if 0.0 < _LOGARITHMIC * smallest < largest:
        axes.set_yscale("log")
    else:
        axes.set_ylim(1.05 * min(0.0, smallest), 1.05 * max(0.0, largest) or 1.0)
    ring = None if best is None else draw_best(axes, values, best, lines[-1].get_color())
    axes.legend(frameon=False)
    return lines, ring


def draw_line(axes: Axes, values: Sequence[float], name: str, **style: Any) -> Line2D:
    """A number of each epoch."""
    epochs = range(1, len(values) + 1)
    marker = "o" if len(epochs) < 10 else None  # a line through one point shows nothing
    (line,) = axes.plot(epochs, values, **{"color": VALIDATION, "marker": marker, **style})
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return line


def draw_best(axes: Axes, values: Sequence[float], best: int, color: Any) -> Line2D:
    """A ring around the value of epoch ``best``."""
    (ring,) = axes.plot(
        [best], [values[best - 1]], "o", markersize=11, markerfacecolor="none", markeredgewidth=1.5, color=color,
        clip_on=False, label=f"best epoch: {best}",
    )  # fmt: skip
    return ring


def label_epochs(axes: Axes, count: int) -> None:
    """The axis of ``count`` epochs, whole numbers."""
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5, count + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


# --- weights -----------------------------------------------------------------------------------------------------


def draw_weights(
    axes: Axes,
    weight: NDArray[Any],
    image_shape: tuple[int, int] | None,
    columns: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    kind: str = "hidden unit",
    per: str = "unit of input",
) -> AxesImage:
    """The first layer's weight (d_in, d_h): a small image of each column, or one heat map.

    Args:
        axes: where.
        weight: on the host.
        image_shape: (height, width) of an input that is an image.
        columns: names of the columns, which then come in their order.
        inputs: names of the inputs, for the heat map.
        kind: what a column stands for.
        per: what of the input the weights are for.
    """
    if image_shape is None:
        return _draw_heat_map(axes, weight, columns, inputs, kind, per)
    return _draw_tiles(axes, weight, image_shape, columns, kind, per)


def _draw_tiles(
    axes: Axes,
    weight: NDArray[Any],
    image_shape: tuple[int, int],
    names: Sequence[str] | None,
    kind: str,
    per: str,
) -> AxesImage:
    """Columns in the order of their names, else the largest norms first; one picture, one colour scale."""
    units = weight.shape[1]
    largest_first = np.argsort(-np.linalg.norm(weight, axis=0), kind="stable")
    shown = (np.arange(units) if names is not None else largest_first)[:_MOST_TILES]
    which = f"all {units}" if len(shown) == units else f"{len(shown)} of {units}"
    ordered = "" if names is not None else ", largest norm first"
    side = math.ceil(math.sqrt(len(shown)))
    columns = min(range(side, side + 3), key=lambda columns: -len(shown) % columns)  # few places stay empty

    height, width = image_shape
    gap = max(1, round(width / 10))
    above = math.ceil(height / 4) if names is not None else gap  # room for a class's label
    down, across = height + above, width + gap
    mosaic = np.full((math.ceil(len(shown) / columns) * down, columns * across - gap), np.nan)
    axes.set_title(f"first-layer weights: {which} {_several(kind)}{ordered}", fontsize="medium")
    for position, unit in enumerate(shown):
        top, left = position // columns * down + above, position % columns * across
        mosaic[top : top + height, left : left + width] = weight[:, unit].reshape(image_shape)
        if names is not None:
            axes.text(left + width / 2, top - above / 4, names[unit], ha="center", va="bottom", fontsize="small")
    axes.set_axis_off()
    return _draw_image(axes, mosaic, "equal", per)


def _draw_heat_map(
    axes: Axes,
    weight: NDArray[Any],
    columns: Sequence[str] | None,
    inputs: Sequence[str] | None,
    kind: str,
    per: str,
) -> AxesImage:
    axes.set_title("first-layer weights", fontsize="medium")
    axes.set_xlabel(kind)
    axes.set_ylabel("input")
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, inputs)):
        if names is None:
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        else:  # as many as can be read
            every = math.ceil(len(names) / _MOST_NAMES)
            axis.set_ticks(range(0, len(names), every), labels=names[::every])
    return _draw_image(axes, weight, "auto", per)


def _draw_image(axes: Axes, values: NDArray[Any], aspect: Literal["equal", "auto"], per: str) -> AxesImage:
    """NaN stays white. A few outliers must not bleach the rest: the symmetric scale ends at a percentile."""
    limit = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
    image = axes.imshow(values, cmap=_DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect)
    axes.figure.colorbar(image, ax=axes, label=f"weight (per {per})", shrink=0.8, extend="both")
    return image


def _several(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


# --- the file ----------------------------------------------------------------------------------------------------


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` as a PNG, whole or not at all."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getbuffer())
