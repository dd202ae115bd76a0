"""The picture of a run: its learning curves, its test predictions, the weights of its first layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style
from sklearn.metrics import confusion_matrix

from mlp_xp import plots
from mlp_xp._lib.namespace import to_host
from mlp_xp.cli._run import Run
from mlp_xp.criterion import criterion_named
from mlp_xp.estimators.displays import name_of_loss

_MOST_LABELS, _MOST_COUNTS, _MOST_POINTS = 40, 12, 5000


def draw(run: Run, path: Path) -> None:
    """Write the picture of ``run`` to ``path``, and show it in the terminal if ``--show`` was given."""
    figure = run_figure(run)
    plots.save(figure, path)
    if run.options["show"] and not run.screen.silent:
        columns = min(run.screen.console.width, 200) if run.screen.is_terminal else 120
        run.screen.show(_in_characters(figure, columns))


def run_figure(run: Run) -> Figure:
    """Loss and score over the epochs; test predictions against the truth; the weight of the first layer."""
    model, recipe, hidden = run.model, run.data.recipe, len(run.sizes) > 2
    labels = [str(each) for each in model.classes] if model.is_classifier else None
    value = f"{run.score.value:.3f}" if labels is None else f"{run.score.value:.1%}"
    figure = Figure(figsize=(15, 5), dpi=110, layout="constrained")
    figure.suptitle(f"{run.name}: {run.network}, test {run.score.name} {value}", fontsize="medium")
    left, middle, right = cast(Any, figure.subfigures(1, 3, width_ratios=(1, 1, 1.15)))
    _draw_curves(left, run)
    if labels is None:
        _draw_scatter(middle, run.data.test.y, run.predicted, recipe.target or "target")
    else:
        _draw_confusion(middle, confusion_matrix(run.data.test.y, run.predicted, labels=model.classes), labels)
    plots.draw_weights(
        right.subplots(), to_host(model.estimator._first_network()[0]), recipe.image_shape,
        columns=None if hidden else labels,
        inputs=[name if len(name) <= 24 else f"{name[:22]}…" for name in recipe.names] or None,
        kind="hidden unit" if hidden else "output" if labels is None else "class",
        per="standard deviation of input" if model.estimator.scaling_ else "unit of input",
    )  # fmt: skip
    return figure


def _draw_curves(area: SubFigure, run: Run) -> None:
    """The losses of each epoch above, the validation score below."""
    estimator = run.model.estimator
    history = estimator._history
    scores = [record.val_score for record in history if record.val_score is not None]
    rows = area.subplots(2 if scores else 1, 1, sharex=True, squeeze=False, height_ratios=(3, 2) if scores else (1,))
    top, bottom = rows[0, 0], rows[-1, 0]
    top.set_title("learning", fontsize="medium")
    validated = [record.val_loss for record in history if record.val_loss is not None]
    losses = {"training": [record.loss for record in history]} | ({"validation": validated} if validated else {})
    plots.draw_losses(top, losses, name_of_loss(criterion_named(estimator._criterion()), estimator.scaling_))
    if scores:
        name = run.model.score_name
        label, scale = {"accuracy": ("accuracy (%)", 100.0), "R^2": ("R²", 1.0)}.get(name, (name, 1.0))
        plots.draw_line(bottom, [scale * float(each) for each in scores], f"validation {label}")
    plots.label_epochs(bottom, len(history))
    area.align_ylabels()


def _draw_confusion(area: SubFigure, counts: NDArray[Any], names: Sequence[str]) -> None:
    """Colours are shares of each true class, so that a rare class is seen too; numbers are counts, where they fit."""
    axes = area.subplots()
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=100.0, interpolation="nearest")
    axes.set_title("test rows", fontsize="medium")
    axes.set(xlabel="predicted", ylabel="true")
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
    axes.set(xlabel=f"true {target}", ylabel=f"predicted {target}", aspect="equal")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


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
        colours = ((Color.from_rgb(*over), Color.from_rgb(*under)) for over, under in zip(above, below, strict=True))
        segments += [*(Segment("▀", Style(color=over, bgcolor=under)) for over, under in colours), Segment.line()]
    return Segments(segments)
