"""A network as a transformer: rows in, the activations of its last hidden layer out, for another estimator.

Before: ``inside`` computes them. Next: ``network`` is one.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from mlp_xp._lib.namespace import namespace
from mlp_xp._lib.typing import Array, Params
from mlp_xp.inside import hidden


class Transformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What makes a transformer of a network; names of features are its class and a number, as scikit-learn's are."""

    coefs_: list[Array]
    activation: Any

    @abstractmethod
    def _chunks(self, X: Any, method: str) -> Iterator[Array]:
        """The rows of X as the network takes them, checked, some after the others."""

    @abstractmethod
    def _params(self) -> Params:
        """W1, b1, W2, b2, ..."""

    def transform(self, X: Any) -> Any:
        """Return what the last hidden layer makes of each sample: features that were learned.

        Parameters
        ----------
        X : array, data frame or sparse matrix of shape (n_samples, n_features)
            The inputs, of the library of ``fit``.

        Returns
        -------
        a : array of shape (n_samples, n_hidden)
            The activations, those of an ensemble side by side. They are in the library of X, or in the container that
            ``set_output`` chose.
        """
        chunks = self._chunks(X, "transform")
        made = joined([hidden(chunk, *self._params(), activation=self.activation) for chunk in chunks])
        if made.ndim == 2:
            return made
        xp = namespace(made)  # the networks of an ensemble side by side
        return xp.reshape(xp.permute_dims(made, (1, 0, 2)), (made.shape[1], self._n_features_out))

    @property
    def _n_features_out(self) -> int:
        """The width of the last hidden layer, from which scikit-learn makes names."""
        return math.prod(self.coefs_[-1].shape[:-1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def joined(parts: list[Array]) -> Array:
    """Arrays of rows, (n, d) or (k, n, d), as one."""
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=-2)
