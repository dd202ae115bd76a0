"""``MLPClassifier``: scikit-learn's, on any array."""

from typing import Any, Self

import numpy as np
from array_api_compat import is_numpy_array
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.namespace import Placement, is_numpy, namespace, to_host
from mlp_xp._lib.typing import Array
from mlp_xp.estimators.base import BaseMLP, Call, Encoded, solver_is_stochastic
from mlp_xp.estimators.data import host, is_device_array
from mlp_xp.losses import exp_and_total, sigmoid, softmax
from mlp_xp.metrics import accuracy
from mlp_xp.ops import log1p_exp
from mlp_xp.parameters import ClassifierParameters
from mlp_xp.train import Dataset


class MLPClassifier(ClassifierParameters, BaseMLP, ClassifierMixin, BaseEstimator):
    """A multilayer perceptron that learns classes, by cross-entropy, on any array.

    It takes what ``sklearn.neural_network.MLPClassifier`` takes, by the same names, with the same meaning and default;
    one ``random_state`` gives the same network to rounding. ``y`` holds class labels, 0 and 1 for each of several
    labels, or (n_samples, n_classes) probabilities, whose classes are 0, 1, 2, ...

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The classes; numbers are in the library of X, strings on the host.
    coefs_ : list of arrays
        The weight matrix of each layer, (d_in, d_out), in the library of X.
    intercepts_ : list of arrays
        The bias of each layer, (d_out,).
    loss_ : float
        The mean training loss of the last epoch, with its penalty.
    best_loss_ : float or None
        The lowest training loss; None with ``early_stopping``.
    loss_curve_ : list of float
        The training loss of each epoch; not with solver lbfgs.
    validation_losses_ : list of float
        The loss on the validation rows after each epoch, without penalty; empty where there are no such rows.
    validation_scores_ : list of float or None
        The score on the validation rows after each epoch; None without ``early_stopping``.
    best_validation_score_ : float or None
        The highest of these scores; None without ``early_stopping``.
    gradient_report_ : GradcheckReport
        The report of the gradient check; only with ``check_gradients``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : array of shape (n_features_in_,)
        Names of the features; only where X had names that are all strings.
    n_iter_ : int
        Number of epochs, or of iterations of lbfgs.
    n_layers_ : int
        Number of layers, input and output counted.
    n_outputs_ : int
        Number of outputs; 1 for two classes.
    out_activation_ : str
        Name of the output function, "softmax" or "logistic".
    t_ : int
        Number of rows seen.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from mlp_xp.estimators import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16,), learning_rate_init=0.03, tol=0.001, random_state=0).fit(X, y)
    >>> model.predict(X[:3])
    array([0, 0, 0])
    >>> model.score(X, y) > 0.95
    True
    """

    @available_if(solver_is_stochastic)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Learn from ``X`` and ``y`` for one epoch more.

        Parameters
        ----------
        X : array of any library, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            The targets.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample; None weighs all alike.
        classes : array-like of shape (n_classes,), default=None
            All classes that may come; the first call needs them.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        y, classes = host(y), host(classes)
        if _check_partial_fit_first_call(self, classes):
            self._set_classes(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, None, Call(incremental=True))

    # --- predictions ---------------------------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """Predict the class of each sample, or 0 and 1 for each of several labels.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_classes)
            Classes that are numbers in the library of X, strings on the host. Labels that were sparse in ``fit`` are
            sparse, where NumPy can hold them.
        """
        chosen = self._outputs(X, "predict")
        if self._is_multilabel():
            return csr_matrix(chosen) if self._sparse_labels and is_numpy_array(chosen) else chosen
        if is_device_array(self.classes_):
            return namespace(chosen).take(self.classes_, chosen, axis=0)
        return self.classes_[to_host(chosen)]

    def predict_proba(self, X: Any) -> Any:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            The probabilities, in the order of ``classes_`` and the library of X.
        """
        z = self._outputs(X, "predict_proba", logits=True)
        if self.out_activation_ == "softmax":
            return softmax(z)
        # 1 - s(z) would round to 0 too soon
        return namespace(z).concat([sigmoid(-z), sigmoid(z)], axis=1) if self.n_outputs_ == 1 else sigmoid(z)

    def predict_log_proba(self, X: Any) -> Any:
        """Predict the logarithm of the probability of each class, exact where the probability rounds to 0.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.

        Returns
        -------
        log_p : array of shape (n_samples, n_classes)
            The logarithms, in the order of ``classes_`` and the library of X.
        """
        z = self._outputs(X, "predict_log_proba", logits=True)
        xp = namespace(z)
        if self.out_activation_ == "softmax":
            shifted, _, total = exp_and_total(xp, z)
            return shifted - xp.log(total)
        above, rest = log1p_exp(xp, z)  # log s(-z) = -log(1 + exp z), log s(z) = z + log s(-z)
        negative = -(above + rest)
        return xp.concat([negative, z + negative], axis=1) if self.n_outputs_ == 1 else z + negative

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of samples whose class is predicted.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            The true classes; of several labels all must be right.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample.

        Returns
        -------
        score : float
            ``sklearn.metrics.accuracy_score``.
        """
        check_is_fitted(self)
        return float(accuracy_score(host(y), host(self.predict(X)), sample_weight=host(sample_weight)))

    # --- targets -------------------------------------------------------------------------------------------------

    def _set_classes(self, y: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(y)
        self._kind, self._sparse_labels = self._label_binarizer.y_type_, issparse(y)
        self.classes_ = self._label_binarizer.classes_

    def _restore_classes(self, classes: Any) -> None:
        """Let the classes be those of a file."""
        self.classes_ = classes
        if self._kind != "soft":
            labels = np.eye(len(classes), dtype=int) if self._is_multilabel() else classes
            self._label_binarizer = LabelBinarizer().fit(labels)

    def _check_classes(self, y: Any, known: Any, all_of_them: bool) -> None:
        """Raise where ``y`` is of another kind than the targets learned from, or has other classes."""
        if (kind := type_of_target(y)).startswith("multilabel") != self._is_multilabel():
            expected = "0 and 1 for each label" if self._is_multilabel() else "one class for each sample"
            raise ValueError(f"y must be {expected}, as the y that was learned from, got {kind}")
        came = unique_labels(y)
        if all_of_them and set(came) != set(known):
            same = f"the same classes as in the previous call to fit. Previously got {known}, `y` has {came}"
            raise ValueError(f"warm_start can only be used where `y` has {same}")
        if not set(came) <= set(known):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. 'y' has {came}.")

    def _encode(self, y: Any, place: Placement, anew: bool, held_out: bool = False) -> Encoded:
        soft = y.ndim == 2 and _is_soft(y)
        if not anew and hasattr(self, "classes_"):
            classes = host(self.classes_)
            if not soft:
                self._check_classes(y, classes, all_of_them=self.warm_start and not held_out)
        elif soft:
            classes, self._kind = np.arange(y.shape[1]), "soft"
            self.classes_ = classes
        else:
            self._set_classes(y)
            classes = self.classes_
        self.out_activation_ = "softmax" if self._kind in ("multiclass", "soft") else "logistic"
        outputs = len(classes) if self._kind != "binary" else 1
        targets = y.astype(np.float64) if soft else self._targets(y, classes)
        strata = y if outputs == 1 else None  # as scikit-learn, which stratifies where there is one output
        weight = None if self.class_weight is None or held_out else self._weights_of(y)
        if not is_numpy(place.xp) and classes.dtype.kind in "biuf":  # classes that are numbers follow X
            if classes.dtype.kind == "u" and classes.dtype.itemsize > 1 and classes[-1] <= np.iinfo(np.int64).max:
                classes = classes.astype(np.int64)  # PyTorch holds wide unsigned integers, and can take none
            self.classes_ = place._replace(dtype=None).put(classes)
        return Encoded(targets, outputs, strata, weight)

    def _targets(self, y: Any, classes: Any) -> Any:
        """Classes as their positions (n,); several labels, and two classes that are smoothed, as 0 ... 1, (n, k)."""
        smoothing = float(self.label_smoothing)
        if self._is_multilabel():
            labels = np.asarray(self._label_binarizer.transform(y), dtype=np.float64)
        else:
            labels = np.searchsorted(classes, y).astype(np.int64)
            if not (self._kind == "binary" and smoothing):
                return labels
            labels = labels[:, None]
        return (1.0 - smoothing) * labels + 0.5 * smoothing

    def _labels(self, targets: Array) -> Array:
        """Encoded targets as ``predict`` of the network has them: positions of classes, or 0 and 1 for each label."""
        xp = namespace(targets)
        if targets.ndim == 1:
            return targets
        if self._kind != "binary" and not self._is_multilabel():  # soft targets
            return xp.argmax(targets, axis=1)
        labels = xp.astype(targets > 0.5, xp.int64)
        return labels if self._is_multilabel() else labels[:, 0]

    def _decoded(self, targets: Array) -> Any:
        labels = self._labels(to_host(targets))
        return labels if self._is_multilabel() else host(self.classes_)[labels]

    def _weights_of(self, y: Any) -> Any:
        """The weight of each sample by ``class_weight``."""
        if self._kind == "soft":
            raise ValueError("class_weight needs classes, and y holds soft targets; use sample_weight")
        weight = compute_sample_weight(self.class_weight, y)
        if weight.min() < 0:
            raise ValueError(f"class_weight must not be negative, got {weight.min()}")
        return weight

    def _is_multilabel(self) -> bool:
        return bool(self._kind.startswith("multilabel"))

    def _names_of_classes(self) -> Any:
        return None if self._is_multilabel() else host(self.classes_)

    def _score_of(self, held_out: Dataset, outputs: Array) -> float:
        xp = namespace(outputs)
        labels = xp.astype(self._labels(held_out.y), outputs.dtype)
        return float(accuracy(xp, labels, outputs, self.coefs_[0], held_out.weight))


def _is_soft(y: Any) -> bool:
    """Whether ``y`` (n, k) holds probabilities: numbers of 0 and more, some of them not whole."""
    return y.shape[1] > 1 and y.dtype.kind == "f" and bool(np.any(y != np.floor(y)) and y.min() >= 0)
