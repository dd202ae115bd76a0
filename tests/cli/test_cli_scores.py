"""How good a model is: scores with intervals that published tables hold, beside a baseline, with a hint."""

from __future__ import annotations

import re
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import runs  # noqa: F401  # skips where the extra "cli" is not installed
from sklearn import metrics

pytestmark = pytest.mark.only("numpy")

scores = import_module("mlp_xp.cli._scores")
losses = import_module("mlp_xp.losses")


def classifier(classes: list[Any], proba: Any, class_weight: Any = None) -> Any:
    """A model that says these probabilities, whatever the rows."""
    known, p = np.asarray(classes), np.asarray(proba)
    estimator = SimpleNamespace(_criterion=lambda: "softmax_cross_entropy", class_weight=class_weight)
    return SimpleNamespace(
        estimator=estimator, is_classifier=True, classes=known, predict=lambda X: known[p[X[:, 0]].argmax(axis=1)],
        predict_proba=lambda X: p[X[:, 0]],
    )  # fmt: skip


def regressor(predicted: Any, criterion: Any = "squared_error", spread: Any = None) -> Any:
    """A model that says these numbers, and perhaps a list of deviations and quantiles, whatever the rows."""
    return SimpleNamespace(
        estimator=SimpleNamespace(_criterion=lambda: criterion), is_classifier=False,
        predict=lambda X: np.asarray(predicted)[X[:, 0]],
        spread=lambda X, std, levels: [np.asarray(each)[X[:, 0]] for each in spread or []],
    )  # fmt: skip


def rows(n: int) -> Any:
    return np.arange(n)[:, None]


def sure(right: int, wrong: int, rare: int = 0) -> Any:
    """Two classes, no and yes: rows of no that are right and wrong, and rows of yes that are all taken for no."""
    no, yes = [0.9, 0.1], [0.2, 0.8]
    y = ["no"] * (right + wrong) + ["yes"] * rare
    return np.asarray(y), [no] * right + [yes] * wrong + [no] * rare


# Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998), table I
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]


@pytest.mark.parametrize(("right", "n", "low", "high"), NEWCOMBE)
def test_the_interval_of_a_share_is_the_published_one(right: int, n: int, low: float, high: float) -> None:
    y, proba = sure(right, n - right)
    y[0] = y[0] if right else "no"
    found = scores.judge(classifier(["no", "yes"], proba), rows(n), y).headline
    assert (found.name, found.value, found.rows) == ("accuracy", right / n, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("right", "n", "text"),
    [
        (30, 30, "accuracy 100.00% (95 % interval 88.65% to 100.00%), 30 of 30 right"),
        (49_999, 50_000, "accuracy 99.9980% (95 % interval 99.9887% to 99.9996%), 49,999 of 50,000 right"),
        (0, 20, "accuracy 0.00% (95 % interval 0.00% to 16.11%), 0 of 20 right"),
    ],
)
def test_an_interval_is_never_empty_and_only_1_reads_as_all(right: int, n: int, text: str) -> None:
    y, proba = sure(right, n - right)
    assert str(scores.judge(classifier(["no", "yes"], proba), rows(n), y).headline) == text


@pytest.mark.parametrize("power", [0, 3, 26, 150])
def test_a_score_is_short_however_bad_it_is(power: int) -> None:
    y = np.arange(40) / 40
    found = scores.judge(regressor(10.0**power * (1 + y)), rows(40), y)
    said = " ".join(scores.lines_of(found))
    numbers = re.findall(r"-?\d[\d.,e+-]*", said)
    assert len(numbers) > 8
    assert max(map(len, numbers)) <= 20, said
    value = metrics.r2_score(y, 10.0**power * (1 + y))
    assert float(re.findall(r"^R.2 (\S+) ", said)[0]) == pytest.approx(value, rel=1e-3)
    assert found.headline.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9929, "0.9929"), (-1.2346e52, "-1.235e+52"), (123456.7, "1.235e+05"), (-1e-17, "0.0000"), (0.0, "0.0000"),
     (3.21e-7, "3.21e-07"), (0.0002, "0.0002"), (float("nan"), "nan"), (float("inf"), "inf")],
)  # fmt: skip
def test_decimals_are_four_or_the_number_has_four_digits(value: float, text: str) -> None:
    assert import_module("mlp_xp.cli._output").decimals(value) == text


def test_the_other_scores_of_two_classes_are_those_of_scikit_learn_with_the_rarer_class_as_positive() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(size=200)
    y = np.where(random.uniform(size=200) < p * 0.6, "maybe", "sure")  # the rarer class is the first of the alphabet
    proba = np.stack([p, 1 - p], axis=1)
    found = scores.judge(classifier(["maybe", "sure"], proba), rows(200), y)
    assert found.rare == "maybe"
    assert found.others == pytest.approx({
        "balanced accuracy": metrics.balanced_accuracy_score(y, found.predicted),
        "F1": metrics.f1_score(y == "maybe", found.predicted == "maybe"),
        "ROC AUC": metrics.roc_auc_score(y == "maybe", p),
        "log-loss": metrics.log_loss(y == "maybe", p),
    }, rel=1e-12)  # fmt: skip


def test_the_other_scores_of_many_classes_are_means_over_them() -> None:
    random = np.random.default_rng(0)
    proba = random.dirichlet(np.ones(3), size=90)
    y = np.asarray([random.choice(3, p=p) for p in proba])
    found = scores.judge(classifier([0, 1, 2], proba), rows(90), y)
    assert found.rare is None
    assert found.others["F1"] == pytest.approx(metrics.f1_score(y, found.predicted, average="macro"), rel=1e-12)
    area = metrics.roc_auc_score(y, proba, multi_class="ovr")
    assert found.others["ROC AUC"] == pytest.approx(area, rel=1e-12)
    assert "F1 (mean of the classes) " in scores.lines_of(found)[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c", "d"]])
def test_rows_that_hold_one_class_are_judged_without_a_warning(classes: list[str]) -> None:
    k = len(classes)
    proba = np.tile(np.r_[np.zeros(k - 1), 1.0], (5, 1))
    proba[0] = np.r_[1.0, np.zeros(k - 1)]
    found = scores.judge(classifier(classes, proba), rows(5), np.asarray(["a"] * 5), np.asarray(classes))
    assert (found.headline.value, found.others["balanced accuracy"]) == (0.2, 0.2)
    assert found.as_record()["others"]["ROC AUC"] is None  # JSON knows no NaN
    assert not any("AUC" in line for line in scores.lines_of(found))


def test_the_baseline_is_the_class_that_was_most_frequent_in_training() -> None:
    y, proba = sure(6, 4)
    found = scores.judge(classifier(["no", "yes"], proba), rows(10), y, np.asarray(["yes", "yes", "no"]))
    assert found.baseline == ("yes", "accuracy", 0.0, None)
    found = scores.judge(classifier(["no", "yes"], proba), rows(10), np.asarray(["no"] * 8 + ["yes"] * 2))
    assert found.baseline == ("no", "accuracy", 0.8, None)
    assert "baseline: always 'no', accuracy 80.00%" in scores.lines_of(found)
    assert found.hint.startswith("the model is no better than the baseline, always 'no'")


def test_a_model_whose_interval_holds_the_baseline_is_not_clearly_better() -> None:
    y = np.asarray(["no"] * 5 + ["yes"] * 5)
    proba = [[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 2 + [[0.9, 0.1]] * 3
    found = scores.judge(classifier(["no", "yes"], proba), rows(10), y)
    assert (found.headline.value, found.baseline.value) == (0.7, 0.5)
    assert found.hint == "the model is not clearly better than the baseline, always 'no': more rows would tell"


def test_a_few_rows_have_no_interval_rather_than_one_of_no_width() -> None:
    y = np.asarray([3.5, 4.5])
    score = scores.judge(regressor([3.25, 4.5]), rows(2), y).headline
    assert str(score) == "R^2 0.8750 on 2 rows, too few for an interval"  # 1 - 0.25^2 / (2 * 0.5^2)


def test_fraud_that_is_not_found_is_the_headline() -> None:
    y, proba = sure(984, 0, rare=16)
    model = classifier(["no", "yes"], proba)
    found = scores.judge(model, rows(1000), y)
    # of none in 16 Wilson's interval ends at z^2 / (16 + z^2), with the 97.5 % quantile z of the normal distribution
    assert found.headline[:3] == ("recall of 'yes'", 0.0, 0.0)
    assert (found.headline.high, found.headline.rows) == (pytest.approx(1.96**2 / (16 + 1.96**2), rel=1e-4), 16)
    assert found.others["accuracy"] == 0.984
    first, *_, hint = scores.lines_of(found, "test")
    assert first.startswith("test recall of 'yes' 0.00% (95 % interval 0.00% to 19.")
    assert first.endswith(", 0 of 16 right")
    assert hint == (
        "hint: 98.4% of the rows are 'no', so accuracy says little, and few of the others are found; "
        "train with --class-weight balanced to find more of them"
    )
    balanced = scores.judge(classifier(["no", "yes"], proba, "balanced"), rows(1000), y)
    assert "--class-weight" not in balanced.hint


def test_fraud_that_is_found_has_no_hint_and_rows_without_fraud_say_so() -> None:
    y, proba = sure(984, 0, rare=16)
    proba[-12:] = [[0.1, 0.9]] * 12
    found = scores.judge(classifier(["no", "yes"], proba), rows(1000), y)
    assert (found.headline.value, found.hint) == (0.75, "")
    found = scores.judge(classifier(["no", "yes"], proba), rows(984), y[:984])
    assert found.headline.name == "accuracy"
    assert found.hint == "these rows are all 'no': they do not show whether the others are found"


def test_the_recall_of_several_rare_classes_is_that_of_all_but_the_frequent_one() -> None:
    y = np.asarray([0] * 95 + [1] * 3 + [2] * 2)
    proba = np.eye(3)[np.r_[np.zeros(95, int), 1, 1, 0, 2, 0]]
    found = scores.judge(classifier([0, 1, 2], proba), rows(100), y)
    assert found.headline[:2] == ("recall of all but 0", 0.6)


@pytest.mark.parametrize("power", [700, -700])
def test_r2_is_the_same_in_any_unit(power: int) -> None:
    """Squares of such numbers are no numbers of float64."""
    random = np.random.default_rng(0)
    y, unit = random.normal(5.0, 2.0, 300), 2.0**power
    predicted = y + random.normal(size=300)
    expected = scores.judge(regressor(predicted), rows(300), y).headline
    assert scores.judge(regressor(unit * predicted), rows(300), unit * y).headline == expected


def test_numbers_are_judged_by_r2_beside_the_mean_of_the_training() -> None:
    random = np.random.default_rng(0)
    y = random.normal(5.0, 2.0, 300)
    predicted = y + random.normal(size=300)
    found = scores.judge(regressor(predicted), rows(300), y, np.asarray([4.0, 8.0]))
    assert found.headline.name == "R^2"
    assert found.headline.value == pytest.approx(metrics.r2_score(y, predicted), rel=1e-12)
    assert found.headline.low < found.headline.value < found.headline.high
    rmse, mae = metrics.root_mean_squared_error(y, predicted), metrics.mean_absolute_error(y, predicted)
    assert found.others == pytest.approx({"RMSE": rmse, "MAE": mae}, rel=1e-12)
    six = np.full(300, 6.0)
    expected = (6.0, "R^2", metrics.r2_score(y, six), metrics.root_mean_squared_error(y, six))
    assert found.baseline == pytest.approx(expected)
    assert found.hint == ""
    assert scores.lines_of(found)[2].startswith("baseline: always the mean 6, R^2 -")
    found = scores.judge(regressor(six), rows(300), y, six)
    assert found.hint.startswith("the model is no better than the baseline, always the mean")


def test_targets_that_are_all_the_same_have_no_r2() -> None:
    found = scores.judge(regressor([1.0, 2.0]), rows(2), np.asarray([3.0, 3.0]))
    assert scores.lines_of(found)[0] == "R^2 says nothing here, since the target is the same in all 2 rows"
    assert [found.as_record()[name] for name in ("value", "low", "high")] == [None] * 3


def test_quantiles_are_judged_by_their_loss_and_by_the_rows_below_them() -> None:
    y = np.arange(10.0)
    low, middle, high = np.full(10, 0.5), y + 0.1, np.full(10, 8.5)
    levels = (0.1, 0.5, 0.9)
    found = scores.judge(regressor(middle, losses.quantile(*levels), [low, middle, high]), rows(10), y)
    expected = {f"rows below quantile {level}": share for level, share in zip(levels, (0.1, 1.0, 0.9), strict=True)}
    expected |= {
        f"pinball loss of quantile {level}": metrics.mean_pinball_loss(y, each, alpha=level)
        for level, each in zip(levels, (low, middle, high), strict=True)
    }
    expected |= {"rows between quantiles 0.1 and 0.9": 0.8, "RMSE": 0.1, "MAE": 0.1}
    assert found.headline.name == "R^2"
    assert found.others == pytest.approx(expected)


def test_a_quantile_that_is_not_the_median_is_compared_with_that_quantile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "_RESAMPLES", 100)
    y = np.arange(20.0)
    said = y * 0.5 + 12
    found = scores.judge(regressor(said, losses.quantile(0.9), [said]), rows(20), y)
    assert found.headline[:2] == ("D^2 of quantile 0.9", pytest.approx(metrics.d2_pinball_score(y, said, alpha=0.9)))
    assert (found.baseline.predicts, found.baseline.error) == (pytest.approx(np.quantile(y, 0.9)), None)
    assert found.baseline.value == pytest.approx(0.0)
    assert "RMSE" not in found.others


def test_a_distribution_is_judged_by_its_likelihood_and_its_interval() -> None:
    y = np.asarray([0.0, 1.0, 5.0])
    mean, std = np.zeros(3), np.ones(3)
    found = scores.judge(regressor(mean, "gaussian", [std, mean - 1.645, mean + 1.645]), rows(3), y)
    # -log of the standard normal density at 0, 1 and 5
    likelihood = 0.5 * np.log(2 * np.pi) + (0 + 1 + 25) / 6
    assert found.others["negative log-likelihood"] == pytest.approx(likelihood, rel=1e-12)
    assert found.others["rows between quantiles 0.05 and 0.95"] == pytest.approx(2 / 3)


def test_rates_are_judged_by_their_deviance() -> None:
    y, predicted = np.asarray([0.0, 1.0, 4.0]), np.asarray([0.5, 1.0, 3.0])
    found = scores.judge(regressor(predicted, "poisson"), rows(3), y)
    assert found.others["mean Poisson deviance"] == pytest.approx(metrics.mean_poisson_deviance(y, predicted))


def test_rows_are_judged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "ROWS", 4)
    seen: list[int] = []
    n = 9
    model = regressor(np.arange(float(n)))
    whole, model.predict = model.predict, lambda X: seen.append(len(X)) or whole(X)
    assert scores.judge(model, rows(n), np.arange(float(n))).headline.value == 1.0
    assert seen == [4, 4, 1]
