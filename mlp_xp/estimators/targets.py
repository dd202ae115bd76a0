"""What a classifier makes of ``y``: which kind it is, its classes, targets for the network, and the way back.

Everything that depends on the kind of ``y`` stands here: ``known_from`` says what ``y`` is, ``encode`` makes targets of
it, ``labels_of`` and ``truth`` make labels again, ``probabilities``, ``log_probabilities`` and ``chosen`` read logits.
The functions that read logits know only the array API: the ONNX export runs them too.

Before: ``data`` has checked ``y``. Next: ``classifier``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.multiclass import type_of_target, unique_labels

from mlp_xp._lib.arguments import check_number, first_line
from mlp_xp._lib.namespace import is_numpy, namespace, to_host
from mlp_xp._lib.typing import Array, Namespace
from mlp_xp.losses import criterion_named, exp_and_total, sigmoid, softmax
from mlp_xp.ops import log1p_exp

_MULTILABEL = "multilabel-indicator"  # scikit-learn's word

# How far from 1 a row of probabilities may sum, for each class and at most: tables give numbers to two decimals.
_CUT, _AT_MOST = 0.01, 0.1


class Known(NamedTuple):
    """What is known of the targets.

    kind: "binary" (two classes, or one alone), "multiclass", "multilabel-indicator" (0 and 1 for each of several
        labels) or "soft" (a probability for each class).
    classes: (k,), sorted, on the host.
    sparse: whether several labels came as a sparse matrix.
    """

    kind: str
    classes: Any
    sparse: bool = False

    @property
    def criterion(self) -> str:
        """The criterion that learns them: one decision among classes, or one for each output."""
        return "softmax_cross_entropy" if self.kind in ("multiclass", "soft") else "sigmoid_cross_entropy"

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def multilabel(self) -> bool:
        """Whether a sample may have several labels."""
        return self.kind == _MULTILABEL


# --- y ---------------------------------------------------------------------------------------------------------------


def known_from(y: Any, classes: Any = None) -> Known:
    """What ``y`` is.

    Args:
        y: on the host, (n,) or (n, k), or a sparse matrix.
        classes: all classes that may come, where ``y`` need not have them all.

    Raises:
        ValueError: ``y`` is no target of a classifier, or does not fit ``classes``.
    """
    y = y if issparse(y) else np.asarray(y)
    given = None if classes is None else _class_names(classes)
    if _is_soft(y):
        _check_probabilities(y)
        names = np.arange(y.shape[1]) if classes is None else np.asarray(classes)
        if len(names) != y.shape[1] or list(names) != sorted(names):
            expected = f"the {y.shape[1]} columns of y in sorted order, as classes_ has them"
            raise ValueError(f"classes must name {expected}, got {names.tolist()}")
        return Known("soft", names)
    kind = _kind_of(y)
    if kind == _MULTILABEL:
        return Known(kind, unique_labels(y), issparse(y))
    names = unique_labels(y) if given is None else given
    return Known("multiclass" if len(names) > 2 else "binary", names)


def _class_names(classes: Any) -> Any:
    """The classes that may come, sorted. Raise unless they are labels (n_classes,)."""
    try:
        if np.ndim(classes) != 1:
            raise ValueError(f"got shape {np.shape(classes)}")
        return unique_labels(classes)
    except (ValueError, TypeError) as error:
        raise ValueError(f"classes must be labels, an array of shape (n_classes,): {first_line(error)}") from None


def known_together(first: Known, other: Known) -> Known:
    """What is known of targets that come in two parts.

    Probabilities that are all 0 and 1 in one part are probabilities if they are in the other.

    Raises:
        ValueError: the parts are of two kinds, or of two widths.
    """
    columns = [known.kind in ("soft", _MULTILABEL) for known in (first, other)]
    if not any(columns):
        return known_from(unique_labels(first.classes, other.classes))
    if not all(columns) or (first.kind != other.kind and (first.sparse or other.sparse)):
        raise ValueError(f"y must be of one kind in all batches, got {other.kind} after {first.kind}")
    if len(first.classes) != len(other.classes):
        raise ValueError(f"y must have {len(first.classes)} columns in all batches, got {len(other.classes)}")
    return first if first.kind == "soft" else other


def _kind_of(y: Any) -> str:
    """scikit-learn's word for what ``y`` is. Raise for what a classifier can't learn."""
    if not issparse(y) and y.dtype.kind == "O" and not all(isinstance(each, str) for each in y.ravel()):
        kinds = ", ".join(sorted({type(each).__name__ for each in y.ravel()}))
        raise ValueError(f"Unknown label type: y must hold strings alone, or numbers in a dtype of theirs, got {kinds}")
    kind = type_of_target(y, input_name="y")
    if kind not in ("binary", "multiclass", _MULTILABEL):
        expected = "strings or whole numbers, 0 and 1 for each label, or probabilities"
        raise ValueError(f"Unknown label type: y must hold {expected}, got {kind}")
    return str(kind)


def _is_soft(y: Any) -> bool:
    """Whether ``y`` is (n, k) numbers that are not all whole: no classes, and no 0 and 1."""
    return not issparse(y) and y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f" and bool(np.any(y != np.floor(y)))


def _check_probabilities(y: Any) -> None:
    """Raise unless each row of ``y`` is a distribution."""
    if y.min() < 0:
        raise ValueError(f"y of several columns must hold labels or probabilities, got the number {y.min():.6g}")
    sums = np.asarray(np.sum(y, axis=1, dtype=np.float64))
    if np.any(wrong := np.abs(sums - 1.0) > min(_CUT * y.shape[1], _AT_MOST)):
        row = int(np.argmax(wrong))
        expected = "probabilities whose rows sum to 1, or 0 and 1 for each label"
        raise ValueError(f"y of several columns must hold {expected}, got a sum of {sums[row]:.6g} in row {row}")


def check_classes(classes: Any, known: Known) -> None:
    """Raise unless these are the classes that were named before; of several labels they name nothing."""
    if not (known.multilabel or np.array_equal(came := _class_names(classes), known.classes)):
        raise ValueError(f"`classes={came}` is not the same as on last call to partial_fit, was: {known.classes}")


def check_fits(y: Any, known: Known, all_classes: bool = False) -> None:
    """Raise where ``y`` is of another kind than the targets that were learned from, or has other classes.

    Args:
        y: on the host.
        known: of the targets that were learned from.
        all_classes: whether every class must be there.
    """
    dense = known.kind == "soft" and y.ndim == 2 and not issparse(y)
    kind = "soft" if dense or _is_soft(y) else _kind_of(y)
    learned = ", as the y that was learned from"
    if known.multilabel != (kind == _MULTILABEL):
        expected = "0 and 1 for each label" if known.multilabel else "one class for each sample"
        raise ValueError(f"y must be {expected}{learned}, got {'probabilities' if kind == 'soft' else kind}")
    if kind in ("soft", _MULTILABEL):
        if y.shape[1] != len(known.classes):
            raise ValueError(f"y must have {len(known.classes)} columns{learned}, got {y.shape[1]}")
        if kind == "soft":
            _check_probabilities(y)
        return
    came = unique_labels(y)
    if all_classes and set(came) != set(known.classes):
        same = f"the same classes as in the previous call to fit. Previously got {known.classes}, `y` has {came}"
        raise ValueError(f"warm_start can only be used where `y` has {same}")
    if not set(came) <= set(known.classes):
        have = f"`self.classes_` has {known.classes}. 'y' has {came}."
        raise ValueError(f"`y` has classes not in `self.classes_`. {have}")


def encode(y: Any, known: Known, smoothing: float = 0.0) -> Any:
    """Targets as the criterion takes them: positions of classes (n,), or numbers from 0 to 1, (n, k).

    Args:
        y: on the host; it fits ``known``.
        known: what is known of the targets.
        smoothing: the share of a target that goes to both sides alike; the softmax criterion has its own.
    """
    if known.multilabel:  # whatever number stands for yes
        labels = (y.toarray() if issparse(y) else y) != 0
    elif y.ndim == 2:  # probabilities
        return y.astype(np.float64)[:, -known.outputs :]
    else:
        labels = np.searchsorted(known.classes, y)
        if not (known.kind == "binary" and smoothing):
            return labels.astype(np.int64)
        labels = labels[:, None]
    return (1.0 - smoothing) * labels.astype(np.float64) + 0.5 * smoothing


def strata(y: Any, known: Known, of_several: bool = False) -> Any:
    """The classes by which a validation set is stratified; None for none, as in scikit-learn where there are several
    outputs, unless it is ``of_several``.
    """
    if (known.outputs > 1 and not of_several) or y.ndim > 1:
        return None
    # two classes that are 0 and 1 are called False and True, as scikit-learn calls them
    return y.astype(bool)[:, None] if known.classes.tolist() in ([0], [0, 1]) else y


def weights(class_weight: Any, y: Any, known: Known, total: Callable[[Any], Any] = lambda counts: counts) -> Any:
    """The weight of each sample, (n,); "balanced" is ``n / (k n_c)`` for k classes, one of which has n_c samples.

    Of several labels it is the product of the weights of each. Source: ``sklearn.utils.compute_sample_weight``.

    Args:
        class_weight: class -> weight, 1 for a class that it does not name; or "balanced".
        y: on the host.
        known: what is known of the targets.
        total: makes the counts of all samples from those in ``y``, which may be a part of them.

    Raises:
        ValueError: the weights fit no such targets.
    """
    if y.ndim == 2 and not known.multilabel:
        raise ValueError("class_weight needs classes, and y holds soft targets; use sample_weight")
    if known.multilabel:
        if class_weight != "balanced":
            of_one = "a dict, which weighs the one class of a sample; use sample_weight"
            raise ValueError(f"class_weight of several labels must be 'balanced', got {of_one}")
        columns = encode(y, known).astype(np.int64).T
        counts = total(np.stack([np.bincount(column, minlength=2) for column in columns]))
        return np.prod([_balanced(each)[column] for each, column in zip(counts, columns, strict=True)], axis=0)
    positions, names = encode(y, known), known.classes.tolist()
    if class_weight == "balanced":
        return _balanced(total(np.bincount(positions, minlength=len(names))))[positions]
    unknown = [name for name in class_weight if name not in names]
    if unknown and len(class_weight) - len(unknown) < len(names):  # else every class has a weight
        raise ValueError(f"class_weight must name classes of y, {names}, got {unknown}")
    given = {name: check_number(f"class_weight[{name!r}]", each, 0.0, np.inf) for name, each in class_weight.items()}
    return np.asarray([given.get(name, 1.0) for name in names])[positions]


def _balanced(counts: Any) -> Any:
    """The weight of each class, from how many samples it has; that of a class without any is never asked for."""
    return np.sum(counts) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def truth(y: Any, known: Known) -> Any:
    """``y`` as ``predict`` would say it: the most probable class of probabilities, 0 and 1 for each label."""
    y = y if issparse(y) else np.asarray(y)
    if known.multilabel:
        return y if _is_soft(y) else (y != 0).astype(np.int64)
    if issparse(y) or y.ndim != 2 or y.shape[1] != len(known.classes) or y.shape[1] == 1:
        return y
    _check_probabilities(y)
    return known.classes[np.argmax(y, axis=1)]


def placed(classes: Any, xp: Namespace, device: Any) -> Any:
    """The classes in the library of X where they are numbers that it can hold, else as they are, on the host."""
    if is_numpy(xp) or classes.dtype.kind not in "biuf":
        return classes
    if classes.dtype.kind == "u" and classes.dtype.itemsize > 1:  # PyTorch takes from no wide unsigned integers
        if classes[-1] > np.iinfo(np.int64).max:
            return classes
        classes = classes.astype(np.int64)
    there = xp.asarray(classes, device=device)
    return there if np.array_equal(to_host(there), classes) else classes  # JAX may cut them to 32 bits


# --- targets and logits ----------------------------------------------------------------------------------------------


def averaged(z: Array, known: Known) -> Array:
    """The logits of an ensemble: their probabilities are the mean of those of its networks. (k, n, d) -> (n, d).

    Of softmax they are ``log mean p``, of a sigmoid ``log mean p - log mean (1 - p)``, exact where these round to 0.
    """
    xp = namespace(z)
    if known.criterion == "softmax_cross_entropy":
        return _log_mean_exp(xp, log_probabilities(z, known))
    above, rest = log1p_exp(xp, z)
    no = -(above + rest)
    return _log_mean_exp(xp, z + no) - _log_mean_exp(xp, no)


def _log_mean_exp(xp: Namespace, logs: Array) -> Array:
    """``log mean exp`` over the first axis, without the division, which is the same for all."""
    highest = xp.max(logs, axis=0)
    return highest + xp.log(xp.sum(xp.exp(logs - highest), axis=0))


def labels_of(targets: Array, known: Known) -> Array:
    """Encoded targets as ``chosen`` has them: positions of classes, or 0 and 1 for each label."""
    xp = namespace(targets)
    if targets.ndim == 1:
        return targets
    if known.criterion == "softmax_cross_entropy":
        return xp.argmax(targets, axis=1)
    return criterion_named(known.criterion).decision(xp, targets - 0.5, known.outputs)


def chosen(z: Array, known: Known) -> Array:
    """The decision for logits (n, k): the position of a class, (n,), or 0 and 1 for each label, (n, k)."""
    decision = criterion_named(known.criterion).decision(namespace(z), z, known.outputs)
    return decision * 0 if len(known.classes) == 1 and not known.multilabel else decision


def probabilities(z: Array, known: Known) -> Array:
    """The probability of each class, (n, k), from logits."""
    xp = namespace(z)
    if known.criterion == "softmax_cross_entropy":
        return softmax(z)
    if known.multilabel:
        return sigmoid(z)
    # 1 - s(z) would round to 0 too soon
    return xp.ones_like(z) if len(known.classes) == 1 else xp.concat([sigmoid(-z), sigmoid(z)], axis=1)


def log_probabilities(z: Array, known: Known) -> Array:
    """The logarithm of ``probabilities``, exact where these round to 0."""
    xp = namespace(z)
    if known.criterion == "softmax_cross_entropy":
        shifted, _, total = exp_and_total(xp, z)
        return shifted - xp.log(total)
    above, rest = log1p_exp(xp, z)  # log s(-z) = -log(1 + exp z), log s(z) = z + log s(-z)
    negative = -(above + rest)
    if known.multilabel:
        return z + negative
    return xp.zeros_like(z) if len(known.classes) == 1 else xp.concat([negative, z + negative], axis=1)


def named(decision: Array, known: Known, classes: Any) -> Any:
    """The classes at the positions ``decision``; 0 and 1 for each label as they are.

    Args:
        decision: from ``chosen``.
        known: what is known of the targets.
        classes: in the library of ``decision``, or on the host.
    """
    if known.multilabel:
        return decision
    if isinstance(classes, np.ndarray):
        return classes[to_host(decision)]
    return namespace(decision).take(classes, decision, axis=0)
