"""The picture of a run: its learning curves, its test predictions, the weights of its first layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style

from mlp_xp import plots
from mlp_xp._lib.namespace import to_host
from mlp_xp.cli._run import Run
from mlp_xp.cli._scores import confusion
from mlp_xp.losses import criterion_named
from mlp_xp.train import Record

_MOST_LABELS, _MOST_COUNTS, _MOST_POINTS = 40, 12, 5000


class Picture(NamedTuple):
    """What the picture of a run shows.

    title: the heading.
    history: a record of each epoch.
    y, predicted: targets of the test rows and their predictions.
    weight: of the first layer, (d_in, d_h), on the host.
    classes: the labels of a classification; None for a regression.
    target: the name of the target.
    loss, score: names of the loss and of the validation score, with their units.
    inputs: names of the columns of X.
    image_shape: (height, width) of an input that is an image.
    hidden: whether the network has a hidden layer.
    per: what a weight is per: the unit of an input.
    """

    title: str
    history: Sequence[Record]
    y: NDArray[Any]
    predicted: NDArray[Any]
    weight: NDArray[Any]
    classes: NDArray[Any] | None
    target: str
    loss: str
    score: str = "score"
    inputs: Sequence[str] = ()
    image_shape: tuple[int, int] | None = None
    hidden: bool = True
    per: str = "unit of input"


def draw(run: Run) -> None:
    """Write the picture of ``run``, and show it in the terminal where that is wanted."""
    figure = run_figure(_picture(run))
    assert run.files.picture is not None
    plots.save(figure, run.files.picture)
    if run.options["show"] and not run.screen.silent:
        columns = min(run.screen.console.width, 200) if run.screen.is_terminal else 120
        run.screen.show(_in_characters(figure, columns))


def _picture(run: Run) -> Picture:
    model, recipe = run.model, run.data.recipe
    value = f"{run.score.value:.1%}" if model.is_classifier else f"{run.score.value:.3f}"
    criterion = criterion_named(model.estimator._criterion())
    unit = criterion.unit if (recipe.y_mean, recipe.y_scale) == (0.0, 1.0) else "standardised"
    loss = f"{criterion.quantity} {unit if unit.startswith('(') else f'({unit})'}"
    score = {"accuracy": "accuracy (%)", "R^2": "R²"}.get(model.score_name, model.score_name)
    return Picture(
        f"{run.name}: {run.network}, test {run.score.name} {value}", model.estimator._history, run.data.test.y,
        run.predicted, to_host(model.estimator.coefs_[0]), model.classes if model.is_classifier else None,
        target=recipe.target or "target", loss=loss, score=score, inputs=recipe.names, image_shape=recipe.image_shape,
        hidden=len(run.sizes) > 2, per="standard deviation of input" if recipe.mean else "unit of input",
    )  # fmt: skip


def run_figure(shown: Picture) -> Figure:
    """Loss and score over the epochs; predictions against the truth; the weight of the first layer."""
    figure = Figure(figsize=(15, 5), dpi=110, layout="constrained")
    figure.suptitle(shown.title, fontsize="medium")
    areas: Any = figure.subfigures(1, 3, width_ratios=(1, 1, 1.15))
    left, middle, right = areas
    labels = None if shown.classes is None else [str(each) for each in shown.classes]
    _draw_curves(left, shown.history, shown.loss, shown.score)
    if shown.classes is not None and labels is not None:
        _draw_confusion(middle, confusion(shown.y, shown.predicted, shown.classes), labels)
    else:
        _draw_scatter(middle, shown.y, shown.predicted, shown.target)
    kind = "hidden unit" if shown.hidden else "output" if labels is None else "class"
    columns, inputs = None if shown.hidden else labels, [_short(name) for name in shown.inputs] or None
    plots.draw_weights(right.subplots(), shown.weight, shown.image_shape, columns, inputs, kind, shown.per)
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
    """Colours are shares of each true class, so that a rare class is seen too; numbers are counts, where they fit."""
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


def _in_characters(figure: Figure, columns: int) -> Segments:
    """The picture in a terminal of so many columns: two pixels in each character, one above the other."""
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
    return Segments(segments)
