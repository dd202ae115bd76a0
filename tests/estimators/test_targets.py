"""What a classifier makes of ``y``: one class, masks, probabilities, wide integers, weights of classes."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from estimator_problems import SAME, apart, iris, several_labels, two_classes
from sklearn import neural_network as theirs
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.utils import compute_sample_weight

from mlp_xp._lib.namespace import to_host
from mlp_xp.estimators import MLPClassifier, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# --- one class ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [(7, {}), ("only", {"solver": "lbfgs"}), (True, {"label_smoothing": 0.1}), (2.0, {"dropout": 0.5})],
)
def test_one_class_in_y_is_what_is_predicted(xp, put, device, tmp_path, name, options):
    X, y = iris()[0], np.full(150, name)
    model = MLPClassifier(4, max_iter=2, random_state=0, **options).fit(put(X), y)
    model.save(tmp_path / "model")
    for each in (model, load(tmp_path / "model", xp, device)):
        assert to_host(each.predict(put(X))).tolist() == y.tolist()
        np.testing.assert_array_equal(to_host(each.predict_proba(put(X))), np.ones((150, 1)))
        np.testing.assert_array_equal(to_host(each.predict_log_proba(put(X))), np.zeros((150, 1)))
        assert each.score(put(X), y) == 1.0


@pytest.mark.only("numpy")
def test_one_class_is_learned_as_scikit_learn_learns_it():
    X, y = iris()[0], np.full(150, 3)
    ours, sklearns = (kind(4, max_iter=5, random_state=0).fit(X, y) for kind in (MLPClassifier, theirs.MLPClassifier))
    assert apart(ours, sklearns) <= SAME
    np.testing.assert_array_equal(ours.predict(X), sklearns.predict(X))
    one_by_one = MLPClassifier(4, random_state=0).partial_fit(X, y, classes=[3])
    assert one_by_one.partial_fit(X, y).predict(X).tolist() == y.tolist()
    stopped = MLPClassifier(4, max_iter=5, early_stopping=True, random_state=0).fit(X, y)
    assert set(stopped.validation_scores_) == {1.0}


@pytest.mark.only("numpy")
def test_folds_and_columns_of_one_class_are_scored_as_scikit_learn_scores_them():
    X, y = two_classes()  # sorted: each fold of two lacks a class
    options = {"hidden_layer_sizes": 4, "max_iter": 5, "random_state": 0}
    ours, sklearns = MLPClassifier(**options), theirs.MLPClassifier(**options)
    scores = [cross_val_score(model, X, y, cv=KFold(2), error_score="raise") for model in (ours, sklearns)]
    np.testing.assert_array_equal(*scores)
    columns = np.stack([y, np.ones_like(y)], axis=1)
    for wrapper in (MultiOutputClassifier, ClassifierChain):
        np.testing.assert_array_equal(*(wrapper(model).fit(X, columns).predict(X) for model in (ours, sklearns)))
    probabilities = cross_val_predict(ours, X, np.zeros(100, dtype=int), method="predict_proba")
    np.testing.assert_array_equal(probabilities, np.ones((100, 1)))


# --- several labels ----------------------------------------------------------------------------------------------

MASKS = {
    "0 and 2": lambda y: 2 * y,
    "0 and 255": lambda y: (255 * y).astype(np.uint8),
    "0.0 and 3.0": lambda y: 3.0 * y,
    "-1 and 0": lambda y: -y,
    "False and True": lambda y: y.astype(bool),
    "sparse 0 and 255": lambda y: scipy.sparse.csr_matrix(255 * y),
}


@pytest.mark.parametrize("mask", MASKS)
def test_non_zero_is_one_for_each_of_several_labels(put, host, mask):
    X, y = several_labels()
    masked = MASKS[mask](y)
    options = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
    plain = MLPClassifier(**options).fit(put(X), put(y))
    model = MLPClassifier(**options).fit(put(X), masked, eval_set=(put(X), masked))
    for ours, its in zip(model.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(host(ours), host(its))
    assert min(model.loss_curve_ + model.validation_losses_) > 0.0
    assert model.score(put(X), masked) == plain.score(put(X), y)
    stepped = MLPClassifier(**options).partial_fit(put(X), masked, classes=[0, 1, 2])
    assert stepped.partial_fit(put(X), y, classes=[0, 1, 2]).loss_ > 0.0


# --- probabilities -----------------------------------------------------------------------------------------------


def softened(y, k=3):
    return 0.8 * np.eye(k)[y] + 0.2 / k


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([[0.9, 0.8], [0.1, 0.2]], "rows sum to 1, or 0 and 1 for each label, got a sum of 1.7 in row 0"),
        ([[0.5, 0.5], [0.25, 0.25]], "got a sum of 0.5 in row 1"),
        ([[1.5, -0.5], [0.5, 0.5]], "must hold labels or probabilities, got the number -0.5"),
        ([[0.5, 3.5], [7.0, 2.0]], "got a sum of 4 in row 0"),
    ],
)  # fmt: skip
def test_numbers_that_are_no_probabilities_are_refused(y, said):
    X = np.eye(2)
    for learn in (
        lambda: MLPClassifier(4, max_iter=2).fit(X, y),
        lambda: MLPClassifier(4).partial_fit(X, y, classes=[0, 1]),
        lambda: MLPClassifier(4, max_iter=2).fit(X, [[0.5, 0.5], [0.25, 0.75]], eval_set=(X, y)),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            learn()


@pytest.mark.only("numpy")
def test_probabilities_that_were_rounded_are_probabilities():
    X, y = iris()
    for digits, dtype in ((2, np.float64), (6, np.float32), (3, np.float16)):
        rounded = np.round(softened(y), digits).astype(dtype)
        assert MLPClassifier(4, max_iter=2, random_state=0).fit(X, rounded).classes_.tolist() == [0, 1, 2]


def test_classes_may_stand_beside_probabilities(put, host):
    X, y = iris()
    options = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
    soft, hard = put(softened(y)), np.eye(3)[y]
    for judged in (y, hard, hard.astype(int), softened(y)):
        model = MLPClassifier(**options, early_stopping=True).fit(put(X), soft, eval_set=(put(X), put(judged)))
        expected = accuracy_score(y, host(model.predict(put(X))))
        # a mean on a GPU is a product with 1 / n, which is rounded once more
        assert model.best_validation_score_ == pytest.approx(expected, rel=np.finfo(float).eps)
        assert model.score(put(X), put(judged)) == model.score(put(X), y)
    one_hot = MLPClassifier(**options).fit(put(X), soft).partial_fit(put(X), put(hard))
    classes = MLPClassifier(**options).fit(put(X), soft).partial_fit(put(X), y)
    for ours, its in zip(one_hot.coefs_, classes.coefs_, strict=True):
        np.testing.assert_allclose(host(ours), host(its), rtol=1e-12, atol=1e-12)


@pytest.mark.only("numpy")
def test_partial_fit_takes_probabilities_whose_columns_the_classes_name():
    X, y = two_classes()
    soft, options = softened(y, 2), {"hidden_layer_sizes": 4, "random_state": 0}
    model = MLPClassifier(**options)
    for _ in range(3):
        model.partial_fit(X, soft, classes=["cat", "dog"])
    assert apart(model, MLPClassifier(**options, max_iter=3, shuffle=False, batch_size=100).fit(X, soft)) < 1.0
    once = MLPClassifier(**options).partial_fit(X, soft, classes=[0, 1])
    assert apart(once, MLPClassifier(**options, max_iter=1).fit(X, soft)) == 0.0
    assert model.classes_.tolist() == ["cat", "dog"]
    assert set(model.predict(X)) <= {"cat", "dog"}
    assert model.score(X, soft) == model.score(X, np.asarray(["cat", "dog"])[y])
    for classes in (["dog", "cat"], [0, 1, 2], [0]):
        with pytest.raises(ValueError, match="classes must name the 2 columns of y in sorted order"):
            MLPClassifier(**options).partial_fit(X, soft, classes=classes)


@pytest.mark.only("numpy")
def test_a_score_of_probabilities_counts_the_most_probable_class():
    X, y = iris()
    model = MLPClassifier(8, max_iter=60, learning_rate_init=0.01, random_state=0).fit(X, softened(y))
    weight = np.random.default_rng(0).uniform(size=150)
    assert model.score(X, softened(y), weight) == accuracy_score(y, model.predict(X), sample_weight=weight) > 0.9
    learned_from_classes = MLPClassifier(8, max_iter=5, random_state=0).fit(X, y)
    assert learned_from_classes.score(X, softened(y)) == learned_from_classes.score(X, y)
    two = MLPClassifier(8, max_iter=5, random_state=0).fit(X[:100], y[:100], eval_set=(X[:100], softened(y[:100], 2)))
    logits = np.diff(two.predict_log_proba(X[:100]), axis=1)
    expected = np.mean(np.logaddexp(0.0, logits) - softened(y[:100], 2)[:, 1:] * logits)  # binary cross-entropy
    np.testing.assert_allclose(two.validation_losses_[-1], expected, rtol=1e-12)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.linspace(0.0, 1.0, 150), "got continuous$"),
        (np.stack([iris()[1]] * 2, axis=1), "got multiclass-multioutput$"),
        (iris()[1].astype(object), "numbers in a dtype of theirs, got int$"),
        (np.asarray([1, "a", None] * 50, dtype=object), "strings alone, .*got NoneType, int, str$"),
    ],
)
def test_what_is_no_class_is_refused_in_one_line(y, said):
    with pytest.raises(ValueError, match=f"^Unknown label type: y must hold .*{said}"):
        MLPClassifier(4, max_iter=1).fit(iris()[0], y)


@pytest.mark.only("numpy")
def test_a_score_is_of_targets_of_the_kind_that_was_learned():
    X, y = iris()
    of_classes = MLPClassifier(4, max_iter=1).fit(X, y)
    of_labels = MLPClassifier(4, max_iter=1).fit(X, np.eye(3, dtype=int)[y])
    assert of_classes.score(X, np.eye(3)[y]) == of_classes.score(X, y.tolist()) == of_classes.score(X, y[:, None])
    with pytest.raises(ValueError, match="rows sum to 1, or 0 and 1 for each label, got a sum of 2 in row 0"):
        of_classes.score(X, 2 * np.eye(3)[y])
    with pytest.raises(ValueError, match="mix of continuous-multioutput and multilabel-indicator"):
        of_labels.score(X, softened(y))


@pytest.mark.only("numpy")
def test_targets_of_another_kind_are_refused_truly():
    X, y = iris()
    labels = np.eye(3, dtype=int)[y]
    of_labels, of_classes = (MLPClassifier(4, max_iter=1).fit(X, each) for each in (labels, y))
    soft = MLPClassifier(4, max_iter=1).fit(X, softened(y))
    for model, came, said in (
        (of_labels, softened(y), "y must be 0 and 1 for each label, as the y that was learned from, got probabilities"),
        (of_labels, labels[:, :2], "y must have 3 columns, as the y that was learned from, got 2"),
        (of_classes, labels, "y must be one class for each sample, .*, got multilabel-indicator"),
        (of_classes, softened(y % 2, 2), "y must have 3 columns"),
        (soft, softened(y % 2, 2), "y must have 3 columns"),
        (soft, labels * 2, "got a sum of 2 in row 0"),
        (soft, y + 1, "has classes not in `self.classes_`"),
    ):
        with pytest.raises(ValueError, match=said):
            model.partial_fit(X, came)


# --- integers of every width -------------------------------------------------------------------------------------

WIDE = """
import sys, warnings
import numpy as np, jax, jax.numpy as jnp
from sklearn.exceptions import ConvergenceWarning
from mlp_xp.estimators import MLPClassifier, load
warnings.simplefilter("error")
warnings.simplefilter("ignore", ConvergenceWarning)
X = jnp.asarray(np.random.default_rng(0).normal(size=(60, 3)), dtype="float32")
for names in ([10**14 + 1, 10**14 + 2, 10**14 + 3], [1, 1 + 2**32], [0.1, 0.7], [2**63 + 1, 2**63 + 2]):
    classes = np.asarray(names) if max(names) < 2**63 else np.asarray(names, dtype=np.uint64)
    if classes.dtype.kind == "f":
        classes = np.asarray([1.0, 2.0**60])
    y = classes[(np.asarray(X[:, 0]) > 0).astype(int) + (len(classes) > 2) * (np.asarray(X[:, 0]) > 1)]
    model = MLPClassifier(8, max_iter=30, learning_rate_init=0.05, random_state=0).fit(X, y)
    model.save(sys.argv[1])
    for each in (model, load(sys.argv[1], jnp)):
        assert np.array_equal(np.asarray(each.classes_), classes), (each.classes_, classes)
        assert set(np.asarray(each.predict(X)).tolist()) <= set(classes.tolist())
        assert each.score(X, y) > 0.9
    assert model.partial_fit(X, y).score(X, y) > 0.9
"""


@pytest.mark.only("jax")
def test_classes_are_whole_where_jax_has_32_bits(tmp_path):
    subprocess.run([sys.executable, "-c", WIDE, str(tmp_path / "model")], check=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.uint64, bool])
def test_a_saved_model_has_its_classes_in_any_library(xp, put, host, device, tmp_path, dtype):
    X, y = two_classes()
    model = MLPClassifier(4, max_iter=20, learning_rate_init=0.05, random_state=0).fit(X, y.astype(dtype))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model", xp, device)
    assert host(again.predict(put(X))).tolist() == model.predict(X).tolist()
    assert again.score(put(X), y.astype(dtype)) == model.score(X, y.astype(dtype))


# --- weights of classes ------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "class_weight", [{2: 5.0}, {0: 0.5}, {0: 1.0, 1: 2.0, 2: 3.0}, {np.int64(1): 2}, {1: np.float32(2)}]
)
def test_a_batch_may_lack_a_class_that_has_a_weight(class_weight):
    X, y = iris()
    options = {"hidden_layer_sizes": 4, "random_state": 0}
    ours, expected = MLPClassifier(class_weight=class_weight, **options), MLPClassifier(**options)
    for rows in (slice(0, 100), slice(50, 150), slice(0, 150), slice(0, 50)):
        weight = [class_weight.get(label, 1.0) for label in y[rows]]
        ours.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        expected.partial_fit(X[rows], y[rows], sample_weight=weight, classes=[0, 1, 2])
    assert apart(ours, expected) == 0.0


@pytest.mark.only("numpy")
def test_weights_of_classes_are_scikit_learns():
    X, y = iris()
    X, y = X[:120], y[:120]
    names = np.asarray(["a", "b", "c"])[y]
    labels = np.stack([y > 0, y > 1], axis=1).astype(int)
    for class_weight, targets in (
        ("balanced", y), ("balanced", names), ("balanced", labels), ("balanced", y > 0), ({"a": 2.0, "c": 0.5}, names),
        ({0: 2.0, 1: 1.0, 2: 3.0, 9: 4.0}, y), ({False: 2.0, True: 1.0}, y > 0), ({0: 0.0, 1: 1.0, 2: 1.0}, y),
    ):  # fmt: skip
        options = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
        ours = MLPClassifier(**options, class_weight=class_weight).fit(X, targets)
        weight = compute_sample_weight(class_weight, targets)
        assert apart(ours, MLPClassifier(**options).fit(X, targets, sample_weight=weight)) <= SAME


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("class_weight", "said"),
    [
        ({7: 2.0}, r"class_weight must name classes of y, \[0, 1, 2\], got \[7\]"),
        ({"0": 2.0}, r"class_weight must name classes of y, \[0, 1, 2\], got \['0'\]"),
        ({0: -1.0}, r"class_weight\[0\] must be at least 0 and finite, got -1"),
        ({0: np.nan}, r"class_weight\[0\] must be at least 0 and finite, got nan"),
        ({0: np.inf}, r"class_weight\[0\] must be at least 0 and finite, got inf"),
        ({0: "heavy"}, r"class_weight\[0\] must be a number, got 'heavy'"),
        ({0: 0.0, 1: 0.0, 2: 0.0}, "must not be zero for every sample"),
    ],
)
def test_weights_of_no_class_are_refused(class_weight, said):
    with pytest.raises((ValueError, TypeError), match=said):
        MLPClassifier(4, max_iter=1, class_weight=class_weight).fit(*iris())


@pytest.mark.only("numpy")
def test_balanced_weights_need_all_rows():
    model = MLPClassifier(4, class_weight="balanced")
    with pytest.raises(
        ValueError, match=r"class_weight='balanced' needs all rows, which partial_fit.*compute_class_weight"
    ):
        model.partial_fit(*iris(), classes=[0, 1, 2])
    assert not hasattr(model, "coefs_")


# --- validation rows ---------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_a_class_with_one_row_is_called_by_its_name():
    X = np.asarray([[1.0, 2], [2, 3], [3, 4], [4, 5]])
    for y, name in (
        ([0, 0, 0, 1], "'True'"), ([False, False, False, True], "'True'"), ([3, 3, 3, 7], "7"), (list("aaab"), "'b'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"Classes with too few members are: \[{name}\]"):
            MLPClassifier(early_stopping=True).fit(X, y)
