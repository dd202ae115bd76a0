"""The picture of a run: learning curves, test predictions, weights of the first layer, importance of columns."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style
from sklearn.metrics import confusion_matrix

from mlp_xp import plots
from mlp_xp._lib.namespace import to_host
from mlp_xp._lib.wording import readable
from mlp_xp.cli._output import decimals
from mlp_xp.cli._run import Run
from mlp_xp.criterion import criterion_named
from mlp_xp.estimators.displays import name_of_loss

_MOST_COUNTS, _MOST_POINTS = 12, 5000
_MOST_CHARACTERS = 18  # of the name of a class
_SMALLEST_COUNT = 5.0  # points
_OTHER_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei",
    "Malgun Gothic", "Arial Unicode MS", "Segoe UI Symbol", "Noto Emoji",
)  # fmt: skip


def draw(run: Run, path: Path) -> None:
    """Write the picture of ``run`` to ``path``, and show it in the terminal if ``--show`` was given."""
    with _quietly():
        figure = run_figure(run)
        plots.save(figure, path)
        if run.options["show"] and not run.screen.silent:
            columns = min(run.screen.console.width, 200) if run.screen.is_terminal else 120
            run.screen.show(_in_characters(figure, columns))


@contextmanager
def _quietly() -> Iterator[None]:
    """Draw with all fonts that names may need; a sign that none of them has becomes a box, without a warning."""
    there = set(font_manager.get_font_names())
    fonts = [*matplotlib.rcParams["font.family"], *(each for each in _OTHER_FONTS if each in there)]
    with matplotlib.rc_context({"font.family": fonts}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run_figure(run: Run) -> Figure:
    """Loss and score over the epochs; test predictions against the truth; the weight of the first layer.

    Beside them, where it is known, how much each column of the table matters.
    """
    model, recipe, hidden = run.model, run.data.recipe, len(run.sizes) > 2
    labels = [str(each) for each in model.classes] if model.is_classifier else None
    needed = run.importance
    widths = (1.0, 1.0, 1.15) if needed is None else (1.0, 1.0, 1.15, 1.0)
    figure = Figure(figsize=(15 if needed is None else 20, 5), dpi=110, layout="constrained")
    figure.suptitle(_title(run), fontsize="medium")
    left, middle, right, *beside = cast(Any, figure.subfigures(1, len(widths), width_ratios=widths))
    _draw_curves(left, run)
    if labels is None:
        _draw_scatter(middle, run.data.test.y, run.predicted, recipe.target or "target")
    else:
        _draw_confusion(middle, confusion_matrix(run.data.test.y, run.predicted, labels=model.classes), labels)
    plots.draw_weights(
        right.subplots(), to_host(model.estimator._first_network()[0]), recipe.image_shape,
        columns=None if hidden else labels, inputs=recipe.names or None,
        kind="hidden unit" if hidden else "output" if labels is None else "class",
        per="standard deviation of input" if model.estimator.scaling_ else "unit of input",
    )  # fmt: skip
    if needed is not None:
        axes = beside[0].subplots()
        axes.set_title("importance on test rows", fontsize="medium")
        plots.draw_importances(axes, needed.mean, f"fall of {needed.score}, shuffled", needed.columns, needed.std)
        axes.set_ylabel("")
    return figure


def _title(run: Run) -> str:
    """``houses: 5-32-16-1, relu, adam, test R^2 0.993``."""
    value = f"{run.score.value:.1%}" if run.model.is_classifier else decimals(run.score.value, 3)
    parts = (plots.short(run.name, 40), plots.short(run.network, 70), plots.short(run.score.name, 50))
    return "{}: {}, test {} ".format(*parts) + value


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
    loss = name_of_loss(criterion_named(estimator._criterion()), estimator.scaling_)
    plots.draw_losses(top, losses, fill(loss, 36))
    if scores:
        name = run.model.score_name
        label, scale = {"accuracy": ("accuracy (%)", 100.0), "R^2": ("R²", 1.0)}.get(name, (name, 1.0))
        plots.draw_line(bottom, [scale * float(each) for each in scores], fill(f"validation {label}", 24))
    plots.label_epochs(bottom, len(history))
    area.align_ylabels()


def _draw_confusion(area: SubFigure, counts: NDArray[Any], names: Sequence[str]) -> None:
    """Colours are shares of each true class, so that a rare class is seen too; numbers are counts, where they fit."""
    axes = area.subplots()
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=100.0, interpolation="nearest")
    axes.set_title("test rows", fontsize="medium")
    axes.set(xlabel="predicted", ylabel="true")
    for axis in (axes.xaxis, axes.yaxis):
        plots.label_names(axis, names, characters=_MOST_CHARACTERS)
    if len(names) <= _MOST_COUNTS:
        _draw_counts(axes, counts, shares, names)
    area.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)


def _draw_counts(axes: Axes, counts: NDArray[Any], shares: NDArray[Any], names: Sequence[str]) -> None:
    """The count in each cell, in a size in which all fit; long ones with a prefix of the SI; none where none fit."""
    names_take = 3.0 * min(_MOST_CHARACTERS, max(map(len, names)))  # points, of what the layout gives to the axes
    cell = 0.9 * (plots.room(axes)[0] - names_take) / len(names)
    for long in (True, False):
        there = ((row, column, int(counts[row, column])) for row, column in np.argwhere(counts))
        texts = {(row, column): f"{count:,}" if long else readable(count, "") for row, column, count in there}
        size = min(8.5, plots.size_of_text(cell, max(map(len, texts.values()))))
        if size >= _SMALLEST_COUNT:
            break
    else:
        return
    for (row, column), text in texts.items():
        colour = "black" if shares[row, column] > 55 else "white"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def _draw_scatter(area: SubFigure, y: NDArray[Any], predicted: NDArray[Any], target: str) -> None:
    axes = area.subplots()
    rows = np.linspace(0, len(y) - 1, min(len(y), _MOST_POINTS)).astype(int)
    y, predicted = y[rows], np.where(np.isfinite(predicted[rows]), predicted[rows], np.nan)
    axes.scatter(y, predicted, s=14, alpha=0.5, color=plots.TRAINING, linewidths=0)
    ends = [float(np.nanmin([y, predicted])), float(np.nanmax([y, predicted]))]
    axes.plot(ends, ends, color="0.3", linestyle=":", label="as it should be")
    axes.set_title("test rows", fontsize="medium")
    target = plots.short(target, 36)
    axes.set(xlabel=f"true {target}", ylabel=f"predicted {target}", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        plots.label_numbers(axis, *ends)
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
