"""Pictures of what was learned, drawn into the caller's axes: loss curves, first-layer weights, importance of inputs.

``save`` writes a picture whole or not at all: an interrupted run leaves the old file as it was.

Before: ``cli`` and ``estimators.displays`` collect what is drawn here.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from mlp_xp._lib.arguments import check_path, described
from mlp_xp._lib.files import write_whole

# colours by Okabe and Ito, which can be told apart with any colour vision; the dashes of the lines differ too
TRAINING, VALIDATION = "#0072B2", "#D55E00"

# diverging colours that differ for everybody: from orange through white to purple
_DIVERGING = "PuOr_r"

_LOGARITHMIC = 30  # the scale is logarithmic if the largest loss is more than so many times the smallest
_MOST_TILES = 64
_MOST_NAMES = 30  # beside an axis
_MOST_CHARACTERS = 24  # of a name
_LARGEST_TEXT, _SMALLEST_TEXT = 10.0, 5.0  # points
_WIDTH = 0.65  # of a character, in the size of the text
_PITCH = 1.3  # from line to line, in the size of the text
_LONG_NUMBERS = 1e4  # from here on a number is written with a prefix, such as "1.2 M"


# --- names and numbers -------------------------------------------------------------------------------------------


def short(name: str, most: int = _MOST_CHARACTERS) -> str:
    """A name on one line, without its middle where it is long; drawn as it is, dollars included.

    Beginning and end stay, since names are often told apart by their ends.

    >>> short("customers who left in the first year", 15)
    'customer…t year'
    """
    line = " ".join(str(name).split())
    if len(line) > most:
        end = (most - 1) * 3 // 7
        line = f"{line[: most - 1 - end]}…{line[len(line) - end :]}"
    return line.replace("$", r"\$")  # two dollars would make mathematics of what stands between them


def room(axes: Axes) -> tuple[float, float]:
    """About how wide and how high the axes will be, in points: most of what they are before the layout."""
    box, points = axes.get_window_extent(), 72.0 / axes.figure.dpi
    if axes.get_aspect() == "auto":
        return 0.85 * points * box.width, 0.85 * points * box.height
    side = 0.75 * points * min(box.width, box.height)
    return side, side


def size_of_text(room: float, characters: int) -> float:
    """The size, in points, in which so many characters fit into a width."""
    return min(_LARGEST_TEXT, room / (_WIDTH * max(characters, 1)))


def label_names(axis: Axis, names: Sequence[str], most: int = _MOST_NAMES, characters: int = _MOST_CHARACTERS) -> None:
    """Label 0, 1, 2, ... on an axis with names that do not overlap: smaller, upright, or only every so many of them.

    Args:
        axis: of axes that already have their aspect.
        names: one for each place.
        most: how many names are shown at most.
        characters: how long a name is at most.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> label_names(axes.xaxis, ["a name", "another"])
    >>> [text.get_text() for text in axes.get_xticklabels()]
    ['a name', 'another']
    """
    across = axis is axis.axes.xaxis
    space = room(axis.axes)[0 if across else 1]
    every = math.ceil(len(names) / min(most, space / (_PITCH * _SMALLEST_TEXT)))
    pitch = space * every / len(names)
    shown = [short(name, characters) for name in names[::every]]
    size = min(_LARGEST_TEXT, max(_SMALLEST_TEXT, pitch / _PITCH))
    upright = across and max(map(len, shown)) * _WIDTH * size > 0.9 * pitch
    axis.set_ticks(range(0, len(names), every), labels=shown, fontsize=size, rotation=90.0 if upright else 0.0)


def label_numbers(axis: Axis, low: float, high: float) -> None:
    """Label an axis from ``low`` to ``high`` with few numbers, long ones with a prefix of the SI: ``1.2 M``."""
    axis.set_major_locator(MaxNLocator(nbins=5))
    largest = max(abs(low), abs(high))
    if largest >= _LONG_NUMBERS and high - low > 0.01 * largest:  # else all would read the same
        axis.set_major_formatter(EngFormatter())


# --- curves ------------------------------------------------------------------------------------------------------


def draw_losses(
    axes: Axes, losses: Mapping[str, Sequence[float]], name: str, best: int | None = None
) -> tuple[list[Line2D], Line2D | None]:
    """Draw one or two losses over the epochs.

    The scale begins at 0; it is logarithmic if a loss falls so far that its end could not be told from 0.

    Args:
        axes: where to draw.
        losses: label -> the loss of each epoch; two at most.
        name: of the loss, with its unit.
        best: the epoch, from 1, at which the last loss is ringed.

    Returns:
        The lines, and the ring.

    >>> from matplotlib.figure import Figure
    >>> lines, ring = draw_losses(Figure().subplots(), {"training": [2.0, 1.0, 0.5]}, "cross-entropy (nats)", best=3)
    >>> lines[0].get_label(), ring.get_label()
    ('training', 'best epoch: 3')
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
    """Draw one number of each epoch, named on the y-axis; ``style`` goes to ``Axes.plot``.

    Args:
        axes: where to draw.
        values: one number an epoch.
        name: of the number, with its unit.
        style: keyword options of ``Axes.plot``.
    """
    epochs = range(1, len(values) + 1)
    marker = "o" if len(epochs) < 10 else None  # a line through one point shows nothing
    (line,) = axes.plot(epochs, values, **{"color": VALIDATION, "marker": marker, **style})
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return line


def draw_best(axes: Axes, values: Sequence[float], best: int, color: Any) -> Line2D:
    """Draw a ring around the value of epoch ``best``, counted from 1."""
    (ring,) = axes.plot(
        [best], [values[best - 1]], "o", markersize=11, markerfacecolor="none", markeredgewidth=1.5, color=color,
        clip_on=False, label=f"best epoch: {best}",
    )  # fmt: skip
    return ring


def label_epochs(axes: Axes, count: int) -> None:
    """Label the x-axis with ``count`` epochs, as whole numbers."""
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
    """Draw the weight of the first layer, (d_in, d_h): a small image of each column, or one heat map.

    Args:
        axes: where to draw.
        weight: (d_in, d_h), on the host.
        image_shape: (height, width) of an input that is an image; None for a heat map.
        columns: names of the columns, which are drawn in this order; None for the largest norm first.
        inputs: names of the inputs, for the heat map.
        kind: what a column stands for.
        per: what a weight is per: the unit of an input.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> draw_weights(axes, np.eye(4), (2, 2)).get_array().shape  # four tiles of 2 x 2, with gaps
    (6, 5)
    >>> axes.get_title()
    'first-layer weights: all 4 hidden units, largest norm first'
    """
    if image_shape is not None:
        return _draw_image(axes, _tiles(axes, weight, image_shape, columns, kind), "equal", per)
    axes.set_title("first-layer weights", fontsize="medium")
    axes.set_xlabel(kind)
    axes.set_ylabel("input")
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, inputs)):
        if names is None:
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        else:
            label_names(axis, names)
    return _draw_image(axes, weight, "auto", per)


def _tiles(
    axes: Axes, weight: NDArray[Any], image_shape: tuple[int, int], names: Sequence[str] | None, kind: str
) -> NDArray[Any]:
    """The columns as tiles of one image, which share a colour scale; also writes title and names."""
    units = weight.shape[1]
    largest_first = np.argsort(-np.linalg.norm(weight, axis=0), kind="stable")
    shown = (np.arange(units) if names is not None else largest_first)[:_MOST_TILES]
    which = f"all {units}" if len(shown) == units else f"{len(shown)} of {units}"
    ordered = "" if names is not None else ", largest norm first"
    side = math.ceil(math.sqrt(len(shown)))
    columns = min(range(side, side + 3), key=lambda columns: -len(shown) % columns)  # leaves few places empty

    height, width = image_shape
    gap = max(1, round(width / 10))
    above = math.ceil(height / 4) if names is not None else gap  # room for the name of a class
    down, across = height + above, width + gap
    mosaic = np.full((math.ceil(len(shown) / columns) * down, columns * across - gap), np.nan)
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    axes.set_title(f"first-layer weights: {which} {plural}{ordered}", fontsize="medium")
    characters = max(3, int(room(axes)[0] / columns / (_WIDTH * _LARGEST_TEXT * 0.8)))
    for position, unit in enumerate(shown):
        top, left = position // columns * down + above, position % columns * across
        mosaic[top : top + height, left : left + width] = weight[:, unit].reshape(image_shape)
        if names is not None:
            name = short(names[unit], characters)
            axes.text(left + width / 2, top - above / 4, name, ha="center", va="bottom", fontsize=0.8 * _LARGEST_TEXT)
    axes.set_axis_off()
    return mosaic


def _draw_image(axes: Axes, values: NDArray[Any], aspect: Literal["equal", "auto"], per: str) -> AxesImage:
    """Draw values around 0; NaN stays white. The scale ends at a percentile: a few outliers must not pale the rest."""
    limit = float(np.nanpercentile(np.abs(values), 99.5)) or 1.0
    image = axes.imshow(values, cmap=_DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect)
    axes.figure.colorbar(image, ax=axes, label=f"weight (per {per})", shrink=0.8, extend="both")
    return image


# --- importance ----------------------------------------------------------------------------------------------------


def draw_importances(
    axes: Axes, importances: NDArray[Any], name: str, inputs: Sequence[str] | None = None,
    spread: NDArray[Any] | None = None,
) -> BarContainer:  # fmt: skip
    """Draw a bar for each input, the largest above, as many as have room for their names.

    Args:
        axes: where to draw.
        importances: (d_in,), on the host.
        name: of the number, with its unit.
        inputs: names of the inputs; None for their numbers.
        spread: (d_in,), drawn to both sides of the end of each bar; None for none.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> bars = draw_importances(axes, np.asarray([0.1, 0.3]), "importance", ["age", "income"])
    >>> [text.get_text() for text in axes.get_yticklabels()]
    ['income', 'age']
    """
    shown = np.argsort(-importances, kind="stable")[:_MOST_NAMES]
    names = [str(number) if inputs is None else str(inputs[number]) for number in shown]
    wide = None if spread is None else spread[shown]
    bars = axes.barh(range(len(shown)), importances[shown], xerr=wide, color=TRAINING, ecolor="0.3")
    label_names(axes.yaxis, names)
    axes.invert_yaxis()
    axes.set_xlabel(name)
    axes.set_ylabel(
        "input" if len(shown) == len(importances) else f"input, the first {len(shown)} of {len(importances)}"
    )
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return bars


# --- the file ----------------------------------------------------------------------------------------------------


def save(figure: Figure, path: str | Path) -> None:
    """Write ``figure`` as a PNG, whole or not at all.

    Raises:
        OSError: when the file can't be written.
        TypeError: for an argument that is something else.
    """
    if not callable(getattr(figure, "savefig", None)):
        raise TypeError(f"figure must be a figure of Matplotlib, got {described(figure)}")
    check_path("path", path)
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getvalue())
