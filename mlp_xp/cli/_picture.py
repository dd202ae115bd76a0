"""The picture of a run: how it learned, how well it does, what the first layer looks at."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from mlp_xp import plots
from mlp_xp.cli._scores import confusion
from mlp_xp.train import Record

if TYPE_CHECKING:
    from rich.console import Console

_MOST_LABELS, _MOST_COUNTS, _MOST_POINTS = 40, 12, 5000


def run_figure(
    title: str, history: Sequence[Record], y: NDArray[Any], predicted: NDArray[Any], weight: NDArray[Any],
    *, classes: NDArray[Any] | None, target: str, loss: str, inputs: Sequence[str] = (),
    image_shape: tuple[int, int] | None = None, hidden: bool = True, per: str = "unit of input",
) -> Figure:  # fmt: skip
    """Loss and score over the epochs; predictions against the truth; the first layer's weight (d_in, d_h).

    Args:
        title: a heading.
        history: a record of each epoch.
        y, predicted: of the test rows.
        weight: on the host.
        classes: of a classification; None for a regression.
        target: what the target is called.
        loss: what the loss is called, with its unit.
        inputs: names of the columns of X.
        image_shape: (height, width) of an input that is an image.
        hidden: whether the first layer is not the last one too.
        per: what of the input the weights are for.
    """
    figure = Figure(figsize=(15, 5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize="medium")
    areas: Any = figure.subfigures(1, 3, width_ratios=(1, 1, 1.15))
    left, middle, right = areas
    _draw_curves(left, history, loss, "accuracy (%)" if classes is not None else "R²")
    if classes is not None:
        _draw_confusion(middle, confusion(y, predicted, classes), [str(each) for each in classes])
    else:
        _draw_scatter(middle, y, predicted, target)
    kind = "hidden unit" if hidden else "output" if classes is None else "class"
    names = [str(each) for each in classes] if not hidden and classes is not None else None
    shown = [_short(name) for name in inputs] or None
    plots.draw_weights(right.subplots(), weight, image_shape, names, shown, kind, per)
    return figure


def _draw_curves(area: SubFigure, history: Sequence[Record], loss: str, score: str) -> None:
    scores = [record.val_score for record in history if record.val_score is not None]
    rows = area.subplots(2 if scores else 1, 1, sharex=True, squeeze=False, height_ratios=(3, 2) if scores else (1,))
    top, bottom = rows[0, 0], rows[-1, 0]
    top.set_title("learning", fontsize="medium")
    losses = {"training": [record.loss for record in history]}
    if validated := [record.val_loss for record in history if record.val_loss is not None]:
        losses["validation"] = validated
    plots.draw_losses(top, losses, loss)
    if scores:
        scale = 100.0 if "%" in score else 1.0
        plots.draw_line(bottom, [scale * float(each) for each in scores], f"validation {score}")
    plots.label_epochs(bottom, len(history))
    area.align_ylabels()


def _draw_confusion(area: SubFigure, counts: NDArray[Any], names: Sequence[str]) -> None:
    """Shares of each true class, so that a rare one is seen as well as a frequent one; counts where they fit."""
    axes = area.subplots()
    total = counts.sum(axis=1, keepdims=True)
    shares = 100.0 * counts / np.where(total == 0, 1, total)
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=100.0, interpolation="nearest")
    axes.set_title("test rows", fontsize="medium")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    k = len(names)
    if k <= _MOST_LABELS:
        small = "medium" if k <= 10 else "x-small"
        long = max(map(len, names)) > 3 and k > 4
        axes.set_xticks(range(k), names, fontsize=small, rotation=90 if long else 0)
        axes.set_yticks(range(k), names, fontsize=small)
    if k <= _MOST_COUNTS:
        for row, column in np.argwhere(counts):
            colour = "black" if shares[row, column] > 55 else "white"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize="small")
    area.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)


def _draw_scatter(area: SubFigure, y: NDArray[Any], predicted: NDArray[Any], target: str) -> None:
    axes = area.subplots()
    rows = np.linspace(0, len(y) - 1, min(len(y), _MOST_POINTS)).astype(int)
    axes.scatter(y[rows], predicted[rows], s=14, alpha=0.5, color=plots.TRAINING, linewidths=0)
    ends = [float(min(y.min(), predicted.min())), float(max(y.max(), predicted.max()))]
    axes.plot(ends, ends, color="0.3", linestyle=":", label="as it should be")
    axes.set_title("test rows", fontsize="medium")
    axes.set_xlabel(f"true {target}")
    axes.set_ylabel(f"predicted {target}")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:22]}…"


def preview(figure: Figure, console: Console) -> None:
    """The picture in a terminal: two pixels in each character, one above the other."""
    from rich.color import Color
    from rich.segment import Segment, Segments
    from rich.style import Style

    columns = min(console.width, 200) if sys.stdout.isatty() else 120
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].astype(float)
    rows = 2 * round(columns * pixels.shape[0] / pixels.shape[1] / 2)
    small = np.stack([
        [part.mean(axis=(0, 1)) for part in np.array_split(band, columns, axis=1)]
        for band in np.array_split(pixels, rows, axis=0)
    ]).astype(int)  # fmt: skip
    segments = []
    for above, below in zip(small[::2], small[1::2], strict=True):
        for over, under in zip(above, below, strict=True):
            style = Style(color=Color.from_rgb(*over), bgcolor=Color.from_rgb(*under))
            segments.append(Segment("▀", style))
        segments.append(Segment.line())
    console.print(Segments(segments))
