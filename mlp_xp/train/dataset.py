"""The data of a run: checked, divided into rows to learn from and rows to judge by, and taken batch by batch.

Next: ``step`` learns from a batch, ``evaluate`` judges by the rows that were held out.
"""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple, cast

import numpy as np  # for the host's random numbers, and sparse matrices

from mlp_xp._lib.arguments import check_all_or_none_batched, check_batch, check_device, check_params, described
from mlp_xp._lib.namespace import (
    detached,
    device_kwargs,
    in_parts,
    is_floating,
    is_integral,
    namespace,
    parameter_name,
    refuse_elsewhere,
    refuse_explicit_axes,
    refuse_unlike,
    unstacked,
    wide_dtype,
)
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.losses import Criterion, check_target_values, check_targets, criterion_named, weight_shapes
from mlp_xp.train.source import all_of, is_source, read_ahead, read_rows

NO_WEIGHT = "sample_weight must be positive for at least one row that is learned from, for each network"


class Dataset(NamedTuple):
    """Rows, ready to be learned from.

    X: (n, d_in), an array, a scipy sparse matrix in CSR format, or a source, see ``source``.
    y: targets as the criterion takes them, (n,) or (n, k).
    weight: (n,), or (k, n) for k networks, or None where all rows weigh the same.
    rows: the numbers of those rows that belong to it, on the host; None for all. The others are never copied.
    """

    X: Array | Any
    y: Array
    weight: Array | None = None
    rows: Any = None

    @property
    def n(self) -> int:
        """How many rows belong to it."""
        return int(self.X.shape[0]) if self.rows is None else len(self.rows)

    @property
    def dtype(self) -> Any:
        """Of the inputs; None for what is no array, whose rows are made such in the dtype of the parameters."""
        return self.X.dtype if is_array(self.X) else None


class Batch(NamedTuple):
    """The rows of one step.

    X, y, weight: as in ``Dataset``, dense.
    rows: which of them the step takes; None for all. Taken inside the step, a compiler sees it.
    n: how many of these rows count, 0-d; those after them only fill the batch up. None for all.
    first: how many rows of the step come before these on other ranks, 0-d; None for none.
    """

    X: Array
    y: Array
    weight: Array | None
    rows: Array | None
    n: Array | None = None
    first: Array | None = None


def is_sparse(X: Any) -> bool:
    """Whether ``X`` is a sparse matrix of scipy."""
    return hasattr(X, "toarray") and hasattr(X, "nnz")


def is_array(X: Any) -> bool:
    """Whether ``X`` is an array, and neither a sparse matrix nor a source."""
    return not is_sparse(X) and not is_source(X)


def by_rows(X: Any) -> Any:
    """``X``; a sparse matrix in the format whose rows can be taken."""
    return X.tocsr() if is_sparse(X) else X


def rows_of(xp: Namespace, X: Array | Any, like: Array, rows: Any) -> Array:
    """``X[rows]``, dense, on the device of ``like``.

    Args:
        xp: the namespace of ``like``.
        X: (n, d_in), an array, a scipy sparse matrix, or a source.
        like: an array on the device where the rows are wanted; those of a source come in its dtype.
        rows: a slice, or indices: on the host where X is no array.
    """
    if is_sparse(X):
        return xp.asarray(cast(Any, X)[rows].toarray(), **device_kwargs(like))
    if is_source(X):
        return xp.asarray(read_rows(X, rows), dtype=like.dtype, **device_kwargs(like))
    return X[rows, ...] if isinstance(rows, slice) else xp.take(X, rows, axis=0)


def weights_of(xp: Namespace, weight: Array, rows: Any) -> Array:
    """The weights (n,) or (k, n) of some rows, which are a slice or indices on the device."""
    return weight[..., rows] if isinstance(rows, slice) else xp.take(weight, rows, axis=-1)


def shares_of(counts: Sequence[int], rank: int, steps: int, accumulate: int) -> tuple[list[slice], list[int]]:
    """The positions of the rows of each batch, for one of several ranks: in each step it takes its share of its rows.

    Args:
        counts: how many rows each rank has.
        rank: the number of this one.
        steps: of the epoch.
        accumulate: how many batches make a step.

    Returns:
        The positions of the rows of each batch, and for each step how many of its rows are on the ranks before.
    """
    own, parts = counts[rank], steps * accumulate
    spans = [slice(own * part // parts, own * (part + 1) // parts) for part in range(parts)]
    before = counts[:rank]
    return spans, [sum(n * (step + 1) // steps - n * step // steps for n in before) for step in range(steps)]


def batches(xp: Namespace, data: Dataset, like: Array, spans: Sequence[slice], rows: Any) -> Iterator[Batch]:
    """The batches of an epoch in the order ``rows`` (on the host), or as they come for None; ``spans`` are theirs.

    Rows of an array in an order are taken in the step. Those of a sparse matrix are made dense, those of a source
    read, batch by batch.
    """
    if data.rows is not None:
        rows = data.rows if rows is None else data.rows[rows]
    if rows is None or not is_array(data.X):
        yield from taken(xp, data._replace(rows=rows), like, spans)
        return
    there, size = xp.asarray(rows, **device_kwargs(like)), spans[0].stop
    alike = [span for span in spans if span.stop - span.start == size]
    if alike == list(spans[: len(alike)]):  # fewer launches than slices take
        full, rest = len(alike) * size, spans[len(alike) :]
        parts = [*unstacked(xp, xp.reshape(there[:full], (-1, size))), *(there[span] for span in rest)]
    else:
        parts = [there[span] for span in spans]
    for part in parts:
        yield Batch(data.X, data.y, data.weight, part)


def taken(xp: Namespace, data: Dataset, like: Array, parts: Iterable[slice]) -> Iterator[Batch]:
    """The rows of ``data`` in parts, slices of 0 ... n - 1: of each its X, y and weights, on the device of ``like``."""
    X, y, weight, rows = data
    source, parts = is_source(X), list(parts)
    read = read_ahead(X, rows, parts) if source else iter(())
    for part in parts:
        here: Any = part if rows is None else rows[part]
        there = here if rows is None else xp.asarray(here, **device_kwargs(like))
        if source:
            inputs = xp.asarray(next(read), dtype=like.dtype, **device_kwargs(like))
        else:
            inputs = rows_of(xp, X, like, here if is_sparse(X) else there)
        own = None if weight is None else weights_of(xp, weight, there)
        yield Batch(inputs, rows_of(xp, y, like, there), own, None)


def targets_of(xp: Namespace, data: Dataset, like: Array) -> tuple[Array, Array | None]:
    """y and the weights of the rows of ``data``, on the device of ``like``."""
    if data.rows is None:
        return data.y, data.weight
    return xp.take(data.y, xp.asarray(data.rows, **device_kwargs(like)), axis=0), weight_of(xp, data, like)


def weight_of(xp: Namespace, data: Dataset, like: Array) -> Array | None:
    """The weights of the rows of ``data``, on the device of ``like``."""
    if data.rows is None or data.weight is None:
        return data.weight
    return weights_of(xp, data.weight, xp.asarray(data.rows, **device_kwargs(like)))


def filled_up(xp: Namespace, parts: Iterator[Batch]) -> Iterator[Batch]:
    """Batches as they come, a smaller one filled up to the size of the largest so far: the same compiled step takes it.

    What it is filled with is its own last row, which is as finite as the batch.
    """
    size = known = 0
    n: Any = None
    for batch in parts:
        like = batch.X if batch.rows is None else batch.rows
        own = like.shape[0]
        size = max(size, own)
        if own != known:  # made on the device, and once for all batches of a size
            n, known = xp.full((), own, dtype=xp.int32, **device_kwargs(like)), own
        yield filled(xp, batch, size)._replace(n=n)


def filled(xp: Namespace, batch: Batch, size: int) -> Batch:
    """A batch with its last row at its end so often that it has ``size`` rows, ``n`` as it was."""
    like = batch.X if batch.rows is None else batch.rows
    own = like.shape[0]
    if own == size:
        return batch
    rows = xp.asarray(np.minimum(np.arange(size), own - 1), **device_kwargs(like))
    if batch.rows is not None:
        return batch._replace(rows=xp.take(batch.rows, rows, axis=0))
    weight = None if batch.weight is None else weights_of(xp, batch.weight, rows)
    return batch._replace(X=xp.take(batch.X, rows, axis=0), y=xp.take(batch.y, rows, axis=0), weight=weight)


# --- reading and checking ----------------------------------------------------------------------------------------


def read(
    data: Dataset,
    params: Params,
    validation: tuple[Array | Any, Array] | float | None,
    seed: Any,
    criterion: Criterion,
) -> tuple[Dataset, Dataset | None]:
    """The rows to learn from and those that are held out, if any, after a look at every value.

    Args:
        data: as it came.
        params: of the network that is to learn from it.
        validation: rows ``(X, y)`` to hold out, or a share of ``data``, or None.
        seed: of the share, as ``numpy.random.default_rng`` takes it.
        criterion: which knows what targets it takes.

    Raises:
        ValueError, TypeError: for what the network can't learn from, in one sentence.
    """
    data = checked(data, params, criterion)
    xp = namespace(*params)
    check_finite(xp, params)
    held_out = None
    if isinstance(validation, Real):
        data, held_out = _held_out(data, validation, seed)
    elif validation is not None:
        held_out = validation_rows(validation, params, criterion, " or a share of the rows")
    return data, held_out


def validation_rows(validation: Any, params: Params, criterion: Criterion, or_else: str = "") -> Dataset:
    """Rows ``(X, y)`` to hold out, checked; ``or_else`` says what else would be right, for the message."""
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise TypeError(f"validation must be a pair (X, y){or_else}, got {described(validation)}")
    return checked(Dataset(*validation), params, criterion, "validation ")


def checked(data: Dataset, params: Params, criterion: Criterion, which: str = "", values: bool = True) -> Dataset:
    """The data without a past, a sparse X by rows.

    Raise unless ``params`` are networks, one or k, that can learn from them; ``values`` is whether all are looked at.
    """
    X, y, weight = detached(by_rows(data.X), data.y, data.weight)
    names = (f"{which}X", f"{which}y")
    for name, array in zip((*names, "sample_weight"), (X, y, weight), strict=True):
        refuse_unlike(name, array)
        refuse_explicit_axes(name, array)
    for position, each in enumerate(params):
        refuse_explicit_axes(parameter_name(position), each)
    array = is_array(X)
    xp = namespace(X, y, *params, names=names) if array else namespace(y, *params, names=names[1:])
    like = X if array or not params else rows_of(xp, X, params[0], slice(0, 1))
    check_batch(xp, like, which)
    if wide_of(xp, like, params):
        like, y, weight = (_widened(xp, each, like.dtype, params[0].dtype) for each in (like[:1, :], y, weight))
    check_network(params, like)
    check_device(names[1], y, params[0])
    refuse_elsewhere(xp, "W1", params[0])
    if values:
        check_values(xp, X, y, params[-1].shape[-1], which, criterion, params[0].dtype)
    else:
        check_targets(xp, criterion, y, X.shape[0], params[-1].shape[-1], params[0].dtype, which)
    if weight is not None:
        _check_weights(xp, y, weight, params, values)
    return Dataset(X, y, weight)


def wide_of(xp: Namespace, X: Array, params: Params) -> bool:
    """Whether the parameters are the float32 of floats of 16 bits, which ``X`` is."""
    return bool(params) and params[0].dtype != X.dtype and params[0].dtype == wide_dtype(xp, X.dtype)


def _widened(xp: Namespace, array: Any, narrow: Any, wide: Any) -> Any:
    """``array`` in the dtype ``wide`` where it is in ``narrow``; others, and None, as they are."""
    return array if array is None or array.dtype != narrow else xp.astype(array, wide)


def check_network(params: Params, like: Array) -> None:
    """Raise unless ``params`` are networks, one or k, that take rows as those of ``like`` (n, d_in)."""
    check_params(params, like)
    check_all_or_none_batched(params)
    if params[0].shape[0] == 0:  # the width of X is none: this is the leading axis
        raise ValueError(f"an ensemble must have at least one network, got W1 of shape {tuple(params[0].shape)}")


def check_values(
    xp: Namespace,
    X: Array | Any,
    y: Array,
    d_out: int,
    which: str = "",
    criterion: Criterion | None = None,
    dtype: Any = None,
) -> None:
    """Raise for a NaN or infinity in ``X`` or floating ``y``, or targets that do not fit the network.

    This looks at every value, which waits for the device: data is checked where it enters, not in every step.

    Args:
        xp: the namespace of ``y``.
        X: (n, d_in), an array, a scipy sparse matrix, or a source, all of which is read unless it holds integers.
        y: integer labels 0 ... d_out - 1, or floating targets.
        d_out: how many outputs the network has.
        which: stands before the names X and y in messages.
        criterion: which knows the shape and the range of its targets; None takes any floating ones.
        dtype: of the network, which floating targets must have; that of ``y`` for None.
    """
    if is_array(X):
        check_batch(xp, X, which)
    elif not all(all_finite(cast(Namespace, np), part) for part in held_numbers(X)):
        raise ValueError(f"{which}X must be finite, got NaN or infinity")
    if y.ndim == 0 or y.shape[0] != X.shape[0]:
        expected = f"one row for each of the {X.shape[0]} rows of X"
        raise ValueError(f"{which}y must have {expected}, got shape {tuple(y.shape)}")
    for name, array in (("X", X), ("y", y)) if is_array(X) else (("y", y),):
        if is_floating(xp, array.dtype) and not all_finite(xp, array):
            raise ValueError(f"{which}{name} must be finite, got NaN or infinity")
    if criterion is not None:
        check_targets(xp, criterion, y, X.shape[0], d_out, y.dtype if dtype is None else dtype, which)
    if criterion is not None or is_integral(xp, y.dtype):
        check_target_values(xp, criterion or criterion_named("softmax_cross_entropy"), y, d_out, which)


def held_numbers(X: Any) -> Iterator[Any]:
    """The floating numbers that a sparse matrix holds, or a source, part by part on the host; integers are none."""
    first = by_rows(X).data if is_sparse(X) else read_rows(X, slice(0, 1))
    if first.dtype.kind != "f":
        return iter(())
    return iter((first,)) if is_sparse(X) else all_of(X)


def check_finite(xp: Namespace, params: Params) -> None:
    """Raise unless all parameters are finite."""
    if not all_finite(xp, *params):
        raise ValueError("the parameters must be finite, got NaN or infinity")


def all_finite(xp: Namespace, *arrays: Array) -> bool:
    """Whether every entry of all arrays is finite: one number comes back from the device."""
    return bool(xp.all(xp.stack([xp.all(xp.isfinite(part)) for array in arrays for part in in_parts(array)])))


def _check_weights(xp: Namespace, y: Array, weight: Array, params: Params, values: bool) -> None:
    like, n = params[0], y.shape[0]
    namespace(y, weight, names=("y", "sample_weight"))
    check_device("sample_weight", weight, like)
    if weight.dtype != like.dtype:
        raise TypeError(f"sample_weight must have the dtype of X, {like.dtype}, got {weight.dtype}")
    if weight.shape not in ((n,), (*like.shape[:-2], n)):
        raise ValueError(f"sample_weight must have {weight_shapes(n, like.shape[:-2])}, got {tuple(weight.shape)}")
    if values and not (all_finite(xp, weight) and bool(xp.min(weight) >= 0)):
        raise ValueError("sample_weight must be finite and at least 0; a row of weight 0 is not learned from")


def _held_out(data: Dataset, share: Any, seed: Any) -> tuple[Dataset, Dataset]:
    """The data without a seeded random share of the rows, and that share."""
    n = data.X.shape[0]
    count = round(float(share) * n) if 0.0 < share < 1.0 else 0
    if not 0 < count < n:
        raise ValueError(f"validation must be a share that leaves rows on both sides, got {share} of {n} rows")
    order = np.random.default_rng(seed).permutation(n)
    return data._replace(rows=np.sort(order[count:])), data._replace(rows=np.sort(order[:count]), weight=None)
