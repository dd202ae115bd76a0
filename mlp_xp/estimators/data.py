"""The data of an estimator, checked as scikit-learn checks them: arrays of the host or of a device.

What NumPy can hold (arrays, lists, data frames, sparse matrices) goes through scikit-learn's own validation and stays
on the host. An array of another library is checked in its own namespace and stays on its device. A source, whose rows
are on disk, stays there: see ``train.source``. Targets and weights follow ``X``.

Next: ``network``, ``classifier`` and ``regressor`` call these checks.
"""

import math
from collections.abc import Iterator
from copy import copy
from functools import wraps
from numbers import Real
from typing import Any, cast

import numpy as np
from array_api_compat import is_array_api_obj, is_numpy_array
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite, check_array, check_consistent_length
from sklearn.utils.validation import _check_n_features, validate_data

from mlp_xp._lib.arguments import check_number, shortened
from mlp_xp._lib.files import dtype_name
from mlp_xp._lib.namespace import (
    Placement,
    detached,
    device_kwargs,
    device_of,
    is_floating,
    kind_of,
    namespace,
    on_one_device,
    refuse_elsewhere,
    refuse_explicit_axes,
    refuse_unlike,
    spans,
    to_host,
)
from mlp_xp._lib.typing import Array
from mlp_xp._lib.wording import warn
from mlp_xp.parameters import FULL_BATCH
from mlp_xp.train.dataset import Dataset, by_rows, held_numbers, is_sparse
from mlp_xp.train.source import Rows, chunk_of, is_source, read_ahead, read_rows

_FLOATS = (np.float64, np.float32)  # others become the first
_ANSWERS = ("predict", "predict_proba", "predict_log_proba", "predict_quantiles", "decision_function")
_CHUNK = 2**22  # numbers of rows that are dense at a time


def is_device_array(X: Any) -> bool:
    """Whether ``X`` is an array of a library other than NumPy."""
    return is_array_api_obj(X) and not is_numpy_array(X) and not issparse(X)


def host(array: Any) -> Any:
    """``array`` as a NumPy array where it is of another library, else unchanged."""
    return to_host(array) if is_device_array(array) else array


def answering_on_host(estimator: Any) -> Any:
    """A copy of a fitted estimator, whose answers are NumPy's: scikit-learn's scorers compute on the host."""
    if not is_device_array(estimator.coefs_[0]):
        return estimator
    answering = copy(estimator)
    for method in _ANSWERS:
        if hasattr(estimator, method):
            setattr(answering, method, _on_host(getattr(estimator, method)))
    if hasattr(estimator, "classes_"):
        answering.classes_ = host(estimator.classes_)
    return answering


def _on_host(method: Any) -> Any:
    @wraps(method)  # scikit-learn reads its name
    def answer(*arguments: Any, **options: Any) -> Any:
        came = method(*arguments, **options)
        return tuple(map(host, came)) if isinstance(came, tuple) else host(came)

    return answer


_OF_ARRAYS = (
    "__getitem__",
    "shape",
    "__array__",
    "__array_interface__",
    "__dlpack__",
)  # one of these has what has rows


def check_kinds(**arrays: Any) -> None:
    """Raise ``TypeError`` for what is no array of plain values, such as a matrix, a masked array, or an X of dates."""
    for name, values in arrays.items():
        refuse_unlike(name, values)
        refuse_explicit_axes(name, values)
        if name == "y" and values is None:
            raise ValueError("y must hold the targets, got None")
        if name in ("classes", "sample_weight") and values is None:
            continue
        if name == "sample_weight" and isinstance(values, Real | str | dict):  # a number, or said there
            continue
        if isinstance(values, (str, bytes, dict)) or not any(hasattr(values, each) for each in _OF_ARRAYS):
            raise ValueError(f"{name} must be an array, got {shortened(values)}")
        kind = getattr(getattr(values, "dtype", None), "kind", "")
        if kind == "c":  # in the words of scikit-learn, which name nothing
            raise ValueError(f"Complex data not supported: {name} must be real, got {values.dtype}")
        if name == "X" and is_numpy_array(values) and values.dtype.kind in "mM":  # days or nanoseconds would count
            raise TypeError(f"X must hold numbers, got {values.dtype}; make numbers of the dates first")


def check_X_y(estimator: Any, X: Any, y: Any, reset: bool, what: str) -> tuple[Any, Any]:
    """X (n, d_in) in its own library and y on the host; raises what scikit-learn raises for such data.

    ``reset`` is whether the library, the dtype, the number and the names of the features are learned; where they are
    not, ``X`` is as in ``check_X``. But floats of 16 bits on a device stay: the network learns in them, with parameters
    in float32. NumPy computes in them much slower than in float32, which scikit-learn makes of them there.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    check_kinds(X=X, y=y)
    (X,), y = detached(X), host(y)
    numeric = isinstance(estimator, RegressorMixin)
    dtype = None if reset else _learned_dtype(estimator, X, what)
    if numeric and issparse(y):  # which scikit-learn lets through
        raise TypeError("Sparse data was passed for y, but dense data is required. Use '.toarray()' to convert it.")
    on_disk = is_source(X)
    if on_disk and estimator.solver in FULL_BATCH:  # which takes all rows in each step
        X, on_disk = read_rows(X, slice(None)), False
    if on_disk or is_device_array(X):
        X = _source_X(estimator, X, reset, dtype) if on_disk else _device_X(estimator, X, reset, dtype, True)
        kinds = (False, "numeric") if numeric else ("csr", None)
        y = check_array(y, accept_sparse=kinds[0], dtype=kinds[1], ensure_2d=False, input_name="y", estimator=estimator)
        check_consistent_length(X, y)
    else:
        options = {"accept_sparse": ["csr", "csc"], "multi_output": True, "y_numeric": numeric}
        options |= {"dtype": _FLOATS if reset else dtype}
        X, y = validate_data(estimator, X, y, reset=reset, **options)
        X = by_rows(X)
    if numeric and y.dtype.kind not in "biuf":
        raise ValueError(f"y must hold numbers, got dtype {y.dtype}")
    if y.ndim == 2 and y.shape[1] == 1:
        expected = "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        warn(f"{expected}(n_samples,), for example using ravel().", DataConversionWarning)
        y = y.toarray()[:, 0] if issparse(y) else y[:, 0]
    return X, y


def check_X(estimator: Any, X: Any, what: str) -> Any:
    """X (n, d_in), in the dtype of the fitted parameters; raises as scikit-learn does.

    ``what`` is what X is called where it is of another library or device, in the plural.
    """
    check_kinds(X=X)
    dtype = _learned_dtype(estimator, X, what)
    if is_source(X):
        return _source_X(estimator, X, reset=False, dtype=dtype)
    if is_device_array(X):
        return _device_X(estimator, X, reset=False, dtype=dtype)
    return by_rows(validate_data(estimator, X, accept_sparse=["csr", "csc"], dtype=dtype, reset=False))


def _learned_dtype(estimator: Any, X: Any, what: str) -> Any:
    """The dtype of the fitted parameters. Raise unless X is of their library and on their device."""
    learned = estimator.coefs_[0]
    fitted, there = namespace(learned), is_device_array(X)
    alike = namespace(X) is fitted if there else is_numpy_array(learned)
    if alike and (not there or on_one_device(X, learned)):
        return learned.dtype
    library = fitted.__name__.removeprefix("array_api_compat.")
    values = next((f"X.{way}()" for way in ("to_numpy", "toarray") if hasattr(X, way)), "X")
    got, fitted_on, cure = kind_of(X), kind_of(learned), f"{library}.asarray({values}) converts them"
    if alike:
        got, fitted_on = f"{got} on {device_of(X)}", f"{fitted_on} on {device_of(learned)}"
        cure = "move one of them, the estimator with to(device)"
    raise ValueError(
        f"{what} must use the same namespace and the same device as those passed to fit(). "
        f"Got {got}, fitted on {fitted_on}; {cure}."
    )


def _device_X(estimator: Any, X: Array, reset: bool, dtype: Any, learns: bool = False) -> Array:
    """X of a library other than NumPy, checked as scikit-learn checks; in ``dtype``, or for None in its own."""
    xp = namespace(X)
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {'scalar' if X.ndim == 0 else f'{X.ndim}D'} array instead: shape {tuple(X.shape)}."
            " Reshape your data: X[:, None] has one feature, X[None, :] one sample."
        )
    if not all(isinstance(size, int) for size in X.shape):  # Dask, after a boolean mask
        raise ValueError(f"X must have a known shape, got {tuple(X.shape)}; call X.compute_chunk_sizes() first")
    for axis, what in enumerate(("sample", "feature")):
        if X.shape[axis] == 0:
            least = f"a minimum of 1 is required by {type(estimator).__name__}"
            raise ValueError(f"Found array with 0 {what}(s) (shape={tuple(X.shape)}) while {least}.")
    if xp.isdtype(X.dtype, "complex floating"):
        raise ValueError(f"Complex data not supported: X has dtype {X.dtype}")
    narrow = is_floating(xp, X.dtype) and xp.finfo(X.dtype).bits == 16
    # a solver that takes all rows at once looks for a minimum more exactly than 16 bits can tell
    kept = narrow and learns and estimator.solver not in FULL_BATCH and dtype in (None, xp.float32)
    if not kept and X.dtype not in (xp.float32, xp.float64):  # as scikit-learn: other types become the default float
        X = xp.astype(X, xp.__array_namespace_info__().default_dtypes(**device_kwargs(X))["real floating"])
    refuse_elsewhere(xp, "X", X)
    if not kept and dtype is not None and X.dtype != dtype:
        X = xp.astype(X, dtype)
    if not bool(xp.all(xp.isfinite(X))):
        values = f"NaN or infinity, or a value too large for {X.dtype}"
        raise ValueError(f"Input X contains {values}. {type(estimator).__name__} does not accept such values.")
    _check_n_features(estimator, X, reset=reset)
    if reset and hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
    return X


def _source_X(estimator: Any, X: Any, reset: bool, dtype: Any) -> Rows:
    """A source, checked as scikit-learn checks an array; in ``dtype``, or for None as scikit-learn would have it."""
    first = validate_data(estimator, read_rows(X, slice(0, 1)), dtype=_FLOATS if dtype is None else dtype, reset=reset)
    for part in held_numbers(X):
        assert_all_finite(part, estimator_name=type(estimator).__name__, input_name="X")
    return Rows(X, first.dtype)


def check_weight(sample_weight: Any, n: int) -> Any:
    """Weights (n,) in float64 on the host. They must not be negative, nor all zero."""
    check_kinds(sample_weight=sample_weight)
    if isinstance(sample_weight, str | dict):
        what = f"a number, or one for each sample, got {sample_weight!r}"
        raise TypeError(f"sample_weight must be {what}; what weighs classes is class_weight")
    if isinstance(sample_weight, Real):
        sample_weight = check_number("sample_weight", sample_weight, 0.0, math.inf)
    weight = host(sample_weight)
    weight = np.full(n, weight) if isinstance(weight, Real) or getattr(weight, "shape", None) == () else weight
    weight = check_array(weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array.")
    if weight.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n,)}!")
    if weight.min() < 0:
        raise ValueError(f"sample_weight must not be negative, got {weight.min()}")
    if not weight.any():
        raise ValueError("sample_weight must not be zero for every sample")
    return weight


def check_pair(eval_set: Any) -> tuple[Any, Any]:
    """``(X, y)``; also from a list of one such pair, as libraries of boosted trees take it."""
    several = isinstance(eval_set, list | tuple) and len(eval_set) > 0 and all(map(_is_pair, eval_set))
    if several and len(eval_set) > 1:
        raise ValueError(f"eval_set must be one pair (X, y), got {len(eval_set)} pairs; give the one to be judged by")
    pair = eval_set[0] if several else eval_set
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        came = f"a {type(pair).__name__}{f' of {len(pair)}' if isinstance(pair, list | tuple) else ''}"
        raise ValueError(f"eval_set must be a pair (X, y), got {came}")
    return pair[0], pair[1]


def _is_pair(value: Any) -> bool:
    """Whether ``value`` may be ``(X, y)`` and not a row or an array of its own: its first entry has two axes."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    X = value[0]
    if hasattr(X, "shape"):
        return len(X.shape) == 2
    return isinstance(X, list | tuple) and len(X) > 0 and hasattr(X[0], "__len__") and not isinstance(X[0], str)


def put_numbers(name: str, values: Any, place: Placement, count: int = 1) -> Array:
    """Numbers of the host where X is. Raise if they, or the sum of ``count`` such, are too large for the dtype of X."""
    largest = float(place.xp.finfo(place.dtype).max)
    if values.dtype.kind == "f" and values.size and (most := float(np.max(np.abs(values)))) > largest / count:
        limit = f"{largest:.1e}{' in sum' if count > 1 else ''}, the largest {dtype_name(place.dtype)}"
        raise ValueError(f"{name} must not exceed {limit}, got {most:.1e}; scale it")
    return place.put(values)


def rows(X: Any, chosen: Any, place: Placement) -> Any:
    """``X`` at the host indices ``chosen``."""
    if is_source(X):
        return read_rows(X, chosen)
    return X[chosen] if is_sparse(X) else place.xp.take(X, place.put(chosen), axis=0)


def split(data: Dataset, share: float, strata: Any, random: Any) -> tuple[Dataset, Dataset]:
    """The data without a share of the rows, and that share: the numbers of the rows that scikit-learn would take."""
    n = data.n
    if not 0 < math.ceil(share * n) < n:
        raise ValueError(f"validation_fraction must leave rows on both sides, got {share} of {n} rows")
    parts = train_test_split(np.arange(n), random_state=random, test_size=share, stratify=strata)
    if len(parts[1]) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    kept, held_out = parts if data.rows is None else (data.rows[part] for part in parts)
    if chunk_of(data.X):  # rows of a chunk stay together
        kept, held_out = np.sort(kept), np.sort(held_out)
    return data._replace(rows=kept), data._replace(rows=held_out)


def gathered(data: Dataset, place: Placement) -> Dataset:
    """``data``, whose rows are numbers, as arrays of those rows alone."""
    if data.rows is None:
        return data
    X, y, weight = [None if each is None else rows(each, data.rows, place) for each in data[:3]]
    return Dataset(X, cast(Array, y), weight)


def in_chunks(X: Any, place: Placement) -> Iterator[Array]:
    """``X`` (n, d_in) in arrays of as many rows as may be dense at a time; what is on a device as it is."""
    if is_device_array(X):
        return iter((X,))
    parts = spans(X.shape[0], X.shape[1], _CHUNK)
    if is_source(X):
        return map(place.put, read_ahead(X, None, parts))
    return (place.put(X[part].toarray()) if is_sparse(X) else X[part] for part in parts)
