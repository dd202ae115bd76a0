"""``MLPClassifier``: scikit-learn's, on any array."""

from functools import reduce
from typing import Any, Self

import numpy as np  # on the host
from array_api_compat import is_numpy_array
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from mlp_xp._lib.arguments import check_callables, check_flag
from mlp_xp._lib.namespace import Placement, namespace, to_host
from mlp_xp._lib.typing import Array, Params
from mlp_xp.estimators import targets
from mlp_xp.estimators.base import BaseMLP, Call, Encoded, solver_is_stochastic
from mlp_xp.estimators.data import check_kinds, host
from mlp_xp.estimators.scaling import Scaling
from mlp_xp.estimators.targets import Known
from mlp_xp.metrics import accuracy
from mlp_xp.mlp import forward
from mlp_xp.parameters import ClassifierParameters
from mlp_xp.ranks import ALONE, Ranks, check_ranks, gathered
from mlp_xp.train import Stream
from mlp_xp.train.stream import of_batch


class MLPClassifier(ClassifierParameters, BaseMLP, ClassifierMixin, BaseEstimator):
    """A multilayer perceptron that learns classes, by cross-entropy, on any array.

    It takes what ``sklearn.neural_network.MLPClassifier`` takes, by the same names, with the same meaning and default;
    one ``random_state`` gives the same network to rounding. ``y`` holds class labels; 0 and non-zero for each of
    several labels; or (n_samples, n_classes) probabilities, whose rows sum to 1 and whose classes are 0, 1, 2, ...

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The classes. Numbers that the library of X can hold are there, other classes on the host.
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
        The score on the validation rows after each epoch, with scoring loss minus the loss; None without
        ``early_stopping``.
    best_validation_score_ : float or None
        The highest of these scores; None without ``early_stopping``.
    folds_ : array of shape (n_samples,)
        Which network holds out a row, -1 for a row that weighs nothing; only with ``folds``.
    scaling_ : Scaling or None
        Means and deviations, with ``standardise``.
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
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, ranks: Ranks | None = None
    ) -> Self:
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
            All classes that may come; the first call needs them. Of probabilities they name the columns.
        ranks : mlp_xp.ranks.Ranks, default=None
            As in ``fit``.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._refuse_balanced("partial_fit")
        check_kinds(y=y, classes=classes)
        y, classes = host(y), host(classes)
        if not hasattr(self, "coefs_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._know(targets.known_from(y, classes))
        elif classes is not None:
            targets.check_classes(classes, self._known())
        return self._fit(X, y, sample_weight, None, Call(incremental=True, ranks=check_ranks(ranks)))

    @with_callbacks
    def fit_batches(
        self, batches: Any, *, classes: Any = None, eval_set: Any = None, callbacks: Any = (), checkpoint: Any = None,
        resume: bool = False, ranks: Ranks | None = None,
    ) -> Self:  # fmt: skip
        """Learn from rows that come in batches, as ``fit`` does from all rows at once.

        Parameters
        ----------
        batches : iterable of pairs (X, y), or of triples (X, y, sample_weight)
            Such as a list or a ``torch.utils.data.DataLoader``: each epoch goes through all batches in their order, and
            each is one step. What X, y and sample_weight may be, see ``fit``; the first batch decides features, library
            and dtype. ``batch_size``, ``shuffle`` and ``validation_fraction`` are not used. A generator, which is used
            up after one pass, is refused where more are needed.
        classes : array-like of shape (n_classes,), default=None
            All classes that may come; None finds them in a pass over the batches before the first epoch. Of
            probabilities they name the columns.
        eval_set : tuple (X, y), or a list of one, default=None
            Rows on which each epoch is judged; ``early_stopping`` needs them.
        callbacks : iterable of callables, default=()
            As in ``fit``.
        checkpoint : str or Path, default=None
            As in ``fit``; the file does not know the batches.
        resume : bool, default=False
            As in ``fit``; it is for you to give the same batches.
        ranks : mlp_xp.ranks.Ranks, default=None
            The processes that learn one network together, each from batches of its own: a step takes the next batch of
            every rank. One whose batches end before those of others joins in with no rows until all have ended.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._refuse_balanced("fit_batches")
        call = Call(check_callables("callbacks", callbacks), checkpoint, check_flag("resume", resume))
        call = call._replace(batched=True, classes=classes, ranks=check_ranks(ranks))
        return self._fit(batches, None, None, eval_set, call)

    def _refuse_balanced(self, method: str) -> None:
        """Raise for weights that only all rows together decide."""
        if self.class_weight == "balanced":
            instead = "compute_class_weight of scikit-learn gives the weights of all rows as a dict"
            raise ValueError(f"class_weight='balanced' needs all rows, which {method} does not see; {instead}")

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
            Classes, where ``classes_`` are. Labels that were sparse in ``fit`` are sparse, where NumPy can hold them.
        """
        labels = self._labels(self._together(self._logits(X, "predict")))
        return csr_matrix(labels) if self._sparse_labels and is_numpy_array(labels) else labels

    def predict_proba(self, X: Any) -> Any:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            The probabilities, in the order of ``classes_`` and the library of X. Where X is a tensor of PyTorch that
            asks for gradients, they can be differentiated by it.
        """
        return targets.probabilities(self._together(self._logits(X, "predict_proba")), self._known())

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
        return targets.log_probabilities(self._together(self._logits(X, "predict_log_proba")), self._known())

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of samples whose class is predicted.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            The true classes; of several labels all must be right, of probabilities the most probable class counts.
        sample_weight : array-like of shape (n_samples,), default=None
            The weight of each sample.

        Returns
        -------
        score : float
            ``sklearn.metrics.accuracy_score``.
        """
        check_is_fitted(self)
        check_kinds(y=y, sample_weight=sample_weight)
        y = targets.truth(host(y), self._known())
        return float(accuracy_score(y, host(self.predict(X)), sample_weight=host(sample_weight)))

    def _together(self, logits: Array) -> Array:
        """The logits (n, d_out), those of an ensemble averaged."""
        return logits if logits.ndim == 2 else targets.averaged(logits, self._known())

    # --- targets -------------------------------------------------------------------------------------------------

    def _know(self, known: Known) -> None:
        """Learn what is known of the targets."""
        self._kind, self.classes_, self._sparse_labels = known

    def _known(self) -> Known:
        return Known(self._kind, host(self.classes_), self._sparse_labels)

    def _know_batches(self, stream: Stream, y: Any, first: bool, classes: Any, ranks: Ranks, place: Placement) -> None:
        check_kinds(classes=classes)
        classes = host(classes)
        if not first:
            if classes is not None:
                targets.check_classes(classes, self._known())
            return
        if classes is None:
            with of_batch(1):
                found = targets.known_from(y)
            for number, (_, each, _) in enumerate(stream.triples(), 1):
                with of_batch(number):
                    check_kinds(y=each)
                    found = targets.known_together(found, targets.known_from(host(each)))
            self._know_together(found, ranks, place)
        else:
            with of_batch(1):
                self._know(targets.known_from(y, classes))

    def _know_all(self, y: Any, ranks: Ranks, place: Placement) -> None:
        self._know_together(targets.known_from(y), ranks, place)

    def _know_together(self, known: Known, ranks: Ranks, place: Placement) -> None:
        """Learn what is known of the targets of all ranks, of which this one has found ``known``."""
        self._know(reduce(targets.known_together, gathered(ranks, place.put(np.zeros(1)), known)))

    def _encode(
        self, y: Any, place: Placement, anew: bool, held_out: bool = False, whole: bool = True, ranks: Ranks = ALONE
    ) -> Encoded:
        if not anew:
            all_classes = self.warm_start and whole and not held_out and ranks.size == 1
            targets.check_fits(y, self._known(), all_classes=all_classes)

        def total(counts: Any) -> Any:
            return sum(gathered(ranks, place.put(np.zeros(1)), counts))

        known = self._known()
        self.classes_ = targets.placed(known.classes, place.xp, place.device)
        self.out_activation_ = "softmax" if known.criterion == "softmax_cross_entropy" else "logistic"
        weight = None if self.class_weight is None or held_out else targets.weights(self.class_weight, y, known, total)
        encoded = targets.encode(y, known, self._number("label_smoothing"))
        return Encoded(encoded, known.outputs, targets.strata(y, known, self.folds), weight)

    def _decoded(self, encoded: Array) -> Any:
        known = self._known()
        return targets.named(targets.labels_of(to_host(encoded), known), known, known.classes)

    def _labels(self, logits: Array) -> Any:
        """What ``predict`` returns for these logits; labels are not made sparse."""
        known = self._known()
        return targets.named(targets.chosen(logits, known), known, self.classes_)

    def _exported(self, X: Array, params: Params, scaling: Scaling | None) -> dict[str, Array]:
        known, xp = self._known(), namespace(X)
        logits = self._together(forward(X, *params, activation=self.activation)[1].logits)
        label = targets.named(targets.chosen(logits, known), known, xp.asarray(known.classes))
        return {"probabilities": targets.probabilities(logits, known), "label": label}

    def _score_of(self, y: Array, weight: Array | None, outputs: Array, ranks: Ranks) -> float:
        xp, known = namespace(outputs), self._known()
        labels = xp.astype(targets.labels_of(y, known), outputs.dtype)
        if len(known.classes) == 1:
            outputs = labels  # the network learns nothing else, and has not yet learned it
        return float(accuracy(xp, labels, outputs, self.coefs_[0], weight, ranks))
