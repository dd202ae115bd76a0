"""How good a model is on rows whose targets are known: ``judge`` says it, with an interval, beside a baseline.

The numbers are scikit-learn's own. Next: ``_tables`` shows confusions and residuals.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as known

from mlp_xp import metrics
from mlp_xp._lib.namespace import namespace, spans_of
from mlp_xp._lib.wording import count_of
from mlp_xp.cli._model import Model
from mlp_xp.cli._output import decimals, figure, in_json
from mlp_xp.criterion import Criterion, criterion_named

ROWS, _NUMBERS = 2**14, 2**21  # that are predicted together, at most: they are copied on the way
_RESAMPLES, _FEWEST, _MOST_DRAWN = 1000, 100, 2_000_000  # of the bootstrap: times, and rows in all
_TO_DRAW_FROM = 5  # rows: of fewer, the same ones are drawn again and again
_UNEVEN = 0.9  # a share of the most frequent class that makes accuracy say little
_POOR = 0.5  # a recall below which the rare rows are as good as not learned
MOST_CURVES = 100  # classes whose ROC curves are averaged


class Score(NamedTuple):
    """A score on some rows, and its 95 % interval; NaN where there is none."""

    name: str
    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"{self.name} says nothing here, since the target is the same in all {self.rows:,} rows"
        if math.isnan(self.low):
            return f"{self.name} {decimals(self.value)} on {count_of(self.rows, 'row')}, too few for an interval"
        three = (self.value, self.low, self.high)
        value, low, high = _apart(three, 4, decimals) if _of_numbers(self.name) else _apart(three, 2, _percent)
        found = round(self.value * self.rows)
        rows = f" on {count_of(self.rows, 'row')}" if _of_numbers(self.name) else f", {found:,} of {self.rows:,} right"
        return f"{self.name} {value} (95 % interval {low} to {high}){rows}"


def _of_numbers(name: str) -> bool:
    """Whether a score compares numbers; the others are shares of rows."""
    return name.startswith(("R^2", "D^2"))


def _percent(value: float, digits: int) -> str:
    return f"{value:.{digits}%}"


def _apart(values: tuple[float, ...], first: int, text: Callable[[float, int], str]) -> list[str]:
    """Texts of some scores of at most 1, with so many digits that none but 1 reads as 1, and no interval is empty."""
    for digits in range(first, 9):
        texts = [text(value, digits) for value in values]
        one = text(1.0, digits)
        if texts[1] != texts[2] and all(text != one or value == 1.0 for text, value in zip(texts, values, strict=True)):
            return texts
    return [text(value, first) for value in values]


def score_in(record: dict[str, Any]) -> Score:
    """The score of which a record of JSON tells."""
    found: dict[str, Any] = {name: math.nan if record[name] is None else record[name] for name in Score._fields}
    return Score(**found)


class Baseline(NamedTuple):
    """What is said without looking at a row, and how good that is.

    predicts: the most frequent class, or the mean, of the targets that were learned from.
    name, value: accuracy, or R^2.
    error: the root mean square error of a number; None for a class.
    """

    predicts: Any
    name: str
    value: float
    error: float | None = None


class Judged(NamedTuple):
    """How good a model is on some rows.

    predicted: labels or numbers, (n,).
    headline: the score to go by: accuracy, R^2, or where nearly all rows are of one class the recall of the others.
    others: name -> number, for people who know them.
    baseline: what a model must beat.
    hint: what is wrong and what to do about it; "" where nothing is.
    rare: the rarer of two classes, which F1 is of; None where F1 is the mean over the classes, and for numbers.
    """

    predicted: NDArray[Any]
    headline: Score
    others: dict[str, float]
    baseline: Baseline
    hint: str = ""
    rare: Any = None

    def as_record(self) -> dict[str, Any]:
        """All but the predictions, as JSON takes it: a number that can't be computed is None."""
        baseline = {name: value for name, value in self.baseline._asdict().items() if value is not None}
        more = {"rare": self.rare} if self.rare is not None else {}
        record = {**self.headline._asdict(), "others": self.others, "baseline": baseline, **more}
        found: dict[str, Any] = in_json(record | ({"hint": self.hint} if self.hint else {}))
        return found


class Said(NamedTuple):
    """What a model says of some rows.

    predicted: labels or numbers, (n,).
    proba: the probability of each class, (n, k); None for numbers.
    std: standard deviations, (n,), and quantiles (n, levels), where the loss learns them.
    """

    predicted: NDArray[Any]
    proba: NDArray[Any] | None = None
    std: NDArray[Any] | None = None
    quantiles: NDArray[Any] | None = None

    def of(self, rows: NDArray[Any]) -> "Said":
        """What it says of some of the rows."""
        return _said(None if each is None else each[rows] for each in self)


def _said(arrays: Iterable[NDArray[Any] | None]) -> Said:
    predicted, *others = arrays
    assert predicted is not None
    return Said(predicted, *others)


# --- judging -----------------------------------------------------------------------------------------------------


def judge(
    model: Model, X: NDArray[Any], y: NDArray[Any], training_y: NDArray[Any] | None = None, seed: int = 0
) -> Judged:
    """How good a model is on rows whose targets are known.

    Args:
        model: the model.
        X: (n, d_in), as its recipe reads rows.
        y: (n,), labels or numbers.
        training_y: the targets that it learned from, or their most frequent class or mean alone; the baseline predicts
            that. None takes ``y`` for them.
        seed: of the rows that the bootstrap draws.
    """
    return judged(model, y, said_of(model, parts_of(X)), training_y, seed)


def parts_of(X: Any) -> Iterator[NDArray[Any]]:
    """The rows of an array or a source (n, d_in), as many at a time as may be in memory."""
    n, width = X.shape
    return (X[part] for part in spans_of(n, max(1, min(ROWS, _NUMBERS // width))))


def in_parts(predict: Callable[[NDArray[Any]], NDArray[Any]], X: NDArray[Any]) -> NDArray[Any]:
    """What a method of a model says of rows that its recipe has read, asked in parts."""
    return np.concatenate([predict(part) for part in parts_of(X)])


def said_of(model: Model, parts: Iterable[NDArray[Any]]) -> Said:
    """What a model says of rows that come in parts."""
    criterion = criterion_named(model.estimator._criterion())
    levels = criterion.levels or (_OUTER if criterion.scale else ())

    def of(X: NDArray[Any]) -> Said:
        predicted = model.predict(X)
        if model.is_classifier:
            return Said(predicted, model.predict_proba(X))
        said = model.spread(X, bool(criterion.scale), levels)
        std = said.pop(0) if criterion.scale else None
        return Said(predicted, None, std, np.stack(said, axis=1) if levels else None)

    columns = zip(*map(of, parts), strict=True)
    return _said(None if column[0] is None else np.concatenate(column) for column in columns)


_OUTER = (0.05, 0.95)  # quantiles of a distribution that was learned


def judged(
    model: Model, y: NDArray[Any], said: Said, training_y: NDArray[Any] | None = None, seed: int = 0
) -> Judged:  # fmt: skip
    """``judge``, of what a model said."""
    usual = y if training_y is None else training_y
    with warnings.catch_warnings():  # scikit-learn warns of classes that these rows do not hold
        warnings.simplefilter("ignore")
        return _labels(model, y, said, usual) if model.is_classifier else _numbers(model, y, said, usual, seed)


# --- labels ------------------------------------------------------------------------------------------------------


def _labels(model: Model, y: NDArray[Any], said: Said, usual: NDArray[Any]) -> Judged:
    classes, predicted, proba = model.classes, said.predicted, said.proba
    assert proba is not None
    labels, counts = np.unique(usual, return_counts=True)
    common = labels[np.argmax(counts)]
    right, rare_rows = y == predicted, y != common
    rare = classes[classes != common][0] if len(classes) == 2 else None
    headline = _share("accuracy", right)
    f1 = {"average": "macro"} if rare is None else {"pos_label": rare}
    others = {
        "balanced accuracy": float(known.balanced_accuracy_score(y, predicted)),
        "F1": float(known.f1_score(y, predicted, zero_division=0.0, **f1)),
        "ROC AUC": roc_auc(y, proba, classes),
        "log-loss": float(known.log_loss(y, proba, labels=classes)) if len(classes) > 1 else 0.0,
    }
    baseline = Baseline(common.item(), "accuracy", float(np.mean(~rare_rows)))
    uneven = baseline.value >= _UNEVEN
    if uneven and rare_rows.any():
        of = f"{rare.item()!r}" if rare is not None else f"all but {common.item()!r}"
        others = {"accuracy": headline.value, **others}
        headline = _share(f"recall of {of}", right[rare_rows])
    hint = _hint_for_labels(model, headline, baseline, uneven)
    return Judged(predicted, headline, others, baseline, hint, None if rare is None else rare.item())


def _share(name: str, right: NDArray[np.bool_]) -> Score:
    """The share of rows that are right, with Wilson's interval, which is not empty where all rows are right.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    count, n = int(right.sum()), len(right)
    interval = stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
    return Score(name, count / n, float(interval.low), float(interval.high), n)


def roc_auc(y: NDArray[Any], proba: NDArray[Any], classes: NDArray[Any]) -> float:
    """The area under the ROC curve; of more than two classes the mean of each against all others.

    NaN where the rows are all of one class; and of very many classes, whose mean takes long and says little.
    """
    if len(classes) > MOST_CURVES:
        return math.nan
    chosen = [len(classes) - 1] if len(classes) == 2 else range(len(classes))
    there = [(y == classes[k], proba[:, k]) for k in chosen]
    areas = [known.roc_auc_score(of_class, p) for of_class, p in there if 0 < of_class.sum() < len(y)]
    return float(np.mean(areas)) if areas else math.nan


def _hint_for_labels(model: Model, headline: Score, baseline: Baseline, uneven: bool) -> str:
    weighed = getattr(model.estimator, "class_weight", None) is not None
    weigh = "" if weighed else "; train with --class-weight balanced to find more of them"
    always = f"always {baseline.predicts!r}"
    if not uneven:
        return _beside_baseline(headline, baseline, always)
    if headline.name == "accuracy":
        return f"these rows are all {baseline.predicts!r}: they do not show whether the others are found"
    if headline.value < _POOR:
        share = f"{baseline.value:.1%} of the rows are {baseline.predicts!r}"
        return f"{share}, so accuracy says little, and few of the others are found{weigh}"
    return ""


def _beside_baseline(headline: Score, baseline: Baseline, always: str) -> str:
    """A sentence where a model is no better than its baseline, or not clearly."""
    if headline.value <= baseline.value:
        return f"the model is no better than the baseline, {always}: it has learned nothing that helps on these rows"
    if not headline.low > baseline.value:
        return f"the model is not clearly better than the baseline, {always}: more rows would tell"
    return ""


# --- numbers -----------------------------------------------------------------------------------------------------


def _numbers(model: Model, y: NDArray[Any], said: Said, usual: NDArray[Any], seed: int) -> Judged:
    criterion, predicted = criterion_named(model.estimator._criterion()), said.predicted
    level, measure = measure_of(model)
    name = "R^2" if level is None else f"D^2 of quantile {level:g}"
    central = float(np.mean(usual) if level is None else np.quantile(usual, level))
    headline = Score(name, measure(y, predicted), *_bootstrap(y, predicted, measure, seed), len(y))
    constant = np.full(len(y), central)
    errors = {} if level is not None else {
        "RMSE": float(known.root_mean_squared_error(y, predicted)),
        "MAE": float(known.mean_absolute_error(y, predicted)),
    }  # fmt: skip
    error = float(known.root_mean_squared_error(y, constant)) if errors else None
    baseline = Baseline(central, name, measure(y, constant), error)
    what = "the mean" if level is None else f"the quantile {level:g}"
    hint = "" if math.isnan(headline.value) else _beside_baseline(headline, baseline, f"always {what}")
    return Judged(predicted, headline, errors | _of_the_loss(criterion, y, said), baseline, hint)


def measure_of(model: Model) -> tuple[float | None, Callable[[NDArray[Any], NDArray[Any]], float]]:
    """R^2; of quantiles that are not near the middle of the targets their level, and D^2, which compares with it."""
    levels = criterion_named(model.estimator._criterion()).levels
    level = min(levels, key=lambda each: abs(each - 0.5), default=0.5)  # of the quantile that is predicted
    if level == 0.5:
        return None, _r_squared

    def d_squared(y: NDArray[Any], predicted: NDArray[Any]) -> float:
        return float(known.d2_pinball_score(y, predicted, alpha=level)) if np.ptp(y) else math.nan

    return level, d_squared


def _of_the_loss(criterion: Criterion, y: NDArray[Any], said: Said) -> dict[str, float]:
    """How good quantiles, a distribution, or rates are: what their losses are for."""
    found: dict[str, float] = {}
    if criterion.name == "poisson" and y.min() >= 0:
        found["mean Poisson deviance"] = float(known.mean_poisson_deviance(y, said.predicted))
    if said.quantiles is None:
        return found
    levels = criterion.levels or _OUTER
    if said.std is not None:
        found["negative log-likelihood"] = float(-np.mean(stats.norm.logpdf(y, said.predicted, said.std)))
    else:
        for level, quantile in zip(levels, said.quantiles.T, strict=True):
            found[f"pinball loss of quantile {level:g}"] = float(known.mean_pinball_loss(y, quantile, alpha=level))
            found[f"rows below quantile {level:g}"] = float(np.mean(y < quantile))
    if len(levels) > 1:
        between = (said.quantiles[:, 0] <= y) & (y <= said.quantiles[:, -1])
        found[f"rows between quantiles {levels[0]:g} and {levels[-1]:g}"] = float(np.mean(between))
    return found


def _r_squared(y: NDArray[Any], predicted: NDArray[Any]) -> float:
    """R^2, NaN where the targets are all the same."""
    if not np.ptp(y):
        return math.nan
    _, exponent = math.frexp(np.max(np.abs(y)))  # squares of 1e200 overflow; a power of two rounds nothing
    y, predicted = np.ldexp(y, -exponent), np.ldexp(predicted, -exponent)
    return float(metrics.r2(namespace(y), y[:, None], predicted[:, None]))


def _bootstrap(
    y: NDArray[Any], predicted: NDArray[Any], measure: Callable[..., float], seed: int
) -> tuple[float, float]:  # fmt: skip
    """The middle 95 % of a score's values on rows drawn anew from these; NaN where these are too few to differ.

    Source: Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    random, n = np.random.default_rng(seed), len(y)
    if n < _TO_DRAW_FROM:
        return math.nan, math.nan
    times = max(_FEWEST, min(_RESAMPLES, _MOST_DRAWN // n))
    drawn = [measure(y[rows], predicted[rows]) for rows in (random.integers(0, n, n) for _ in range(times))]
    finite = np.asarray([value for value in drawn if math.isfinite(value)])
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (math.nan, math.nan)
    return float(low), float(high)


# --- text --------------------------------------------------------------------------------------------------------


def lines_of(found: Judged, rows: str = "") -> list[str]:
    """What is found, a sentence a line: the headline, other scores, the baseline, the hint.

    Args:
        found: what ``judge`` returned.
        rows: what the rows are called in the headline, such as "test"; "" for nothing.
    """
    lines = [f"{rows} {found.headline}".lstrip()]
    others = {name: value for name, value in found.others.items() if math.isfinite(value)}
    if others:
        of = "" if found.baseline.error is not None else " (mean of the classes)" if found.rare is None else ""
        named = {"F1": f"F1 of {found.rare!r}" if found.rare is not None else f"F1{of}"}
        lines.append(", ".join(f"{named.get(name, name)} {_shown(name, value)}" for name, value in others.items()))
    return [*lines, f"baseline: {_in_words(found.baseline)}", *([f"hint: {found.hint}"] if found.hint else [])]


def _shown(name: str, value: float) -> str:
    if name in ("F1", "ROC AUC", "log-loss"):
        return decimals(value)
    return f"{value:.2%}" if name.endswith("accuracy") or name.startswith("rows ") else figure(value)


def baseline_in(record: dict[str, Any]) -> str:
    """The baseline of which a record of JSON tells, in words; "" where it tells of none."""
    found = record.get("baseline")
    if not found:
        return ""
    value = math.nan if found["value"] is None else found["value"]
    return _in_words(Baseline(found["predicts"], found["name"], value, found.get("error")))


def _in_words(baseline: Baseline) -> str:
    if baseline.name == "accuracy":
        return f"always {baseline.predicts!r}, accuracy {baseline.value:.2%}"
    what = "the mean" if baseline.name == "R^2" else f"the {baseline.name.removeprefix('D^2 of ')}"
    score = "" if math.isnan(baseline.value) else f", {baseline.name} {decimals(baseline.value)}"
    error = "" if baseline.error is None else f", RMSE {figure(baseline.error)}"
    return f"always {what} {figure(baseline.predicts)}{score}{error}"
