"""Checkpoints: the state of training in one safetensors file, from which a run that was killed continues.

    start = checkpoint.load(path, params, config) if path.exists() else params
    for epoch in train(X, y, start, **settings, callbacks=[checkpoint.saver(path, config)]):
        ...

The result is that of a run without interruption, to the last bit, if backend and device are the same and deterministic.
The file holds no random state: all that ``train`` draws depends on the seed and the number of the epoch alone.

Before: ``train`` makes the epochs. Next: ``estimators`` and ``cli`` save them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np  # for arrays on the host

from mlp_xp._lib import files
from mlp_xp._lib.arguments import check_parameters, check_path, described
from mlp_xp._lib.files import as_json, dtype_name
from mlp_xp._lib.namespace import (
    device_of,
    in_parts,
    is_integral,
    namespace,
    parameter_name,
    to_host,
)
from mlp_xp._lib.parts import check_type, parts_of
from mlp_xp._lib.typing import Array, Namespace, Params
from mlp_xp.train import Dataset, Epoch, Record
from mlp_xp.train.dataset import by_rows, is_array
from mlp_xp.train.source import all_of, is_source

_KIND = "checkpoint"


class _Header(TypedDict):
    """What a checkpoint holds beside its arrays; older files say neither whose state it is nor how many rows were seen.

    config: as it was given to ``save``.
    dtypes: name of an array -> its dtype.
    history: the records by field.
    """

    config: dict[str, Any]
    dtypes: dict[str, str]
    history: dict[str, list[Any]]
    optimizer: NotRequired[str]
    rows: NotRequired[int]


def save(path: str | Path, epoch: Epoch, config: Mapping[str, Any]) -> None:
    """Write ``epoch`` to the file ``path``, whole or not at all.

    Args:
        path: the file; an older checkpoint there is replaced.
        epoch: an epoch that ``train`` yielded.
        config: everything that decides how the run continues, as numbers, strings, lists and dicts: sizes, activation,
            criterion, optimizer and its constants, schedule, batch size, seed, and the data's ``fingerprint``; of ranks
            the fingerprints of all, since all of them load what one has saved.

    Raises:
        OSError: the file can't be written; an older checkpoint there is unchanged.
        TypeError: an argument is something else, ``config`` holds something else, or an array has a dtype that
            safetensors lacks. The file is as it was.
        ModuleNotFoundError: safetensors is not installed.

    >>> import numpy as np, tempfile
    >>> params = (np.array([[0.5]]), np.array([0.0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/run.safetensors", Epoch((), params, params, ()), {"seed": 0})
    ...     load(f"{folder}/run.safetensors", params, {"seed": 0}).params
    (array([[0.5]]), array([0.]))
    """
    if not isinstance(epoch, Epoch):
        raise TypeError(f"epoch must be an Epoch, as train yields them, got {described(epoch)}")
    _check_path_and_config(path, config)
    arrays = _named(epoch.params)
    if epoch.best is not epoch.params:
        arrays |= _named(epoch.best, "best.")
    arrays |= {f"state.{position}": array for position, array in enumerate(epoch.state)}
    header = {
        "config": config,
        "dtypes": {name: dtype_name(array.dtype) for name, array in arrays.items()},
        "history": _columns(epoch.history),
        "optimizer": epoch.optimizer,
        "rows": epoch.rows,
    }
    files.write(path, _KIND, arrays, header)


def saver(path: str | Path, config: Mapping[str, Any]) -> Callable[[Epoch], None]:
    """A callback for ``train`` that saves every epoch.

    Args:
        path: the file, as in ``save``.
        config: everything that decides how the run continues, as in ``save``.

    Returns:
        ``callback(epoch)``, which raises what ``save`` raises.

    Raises:
        TypeError: for a path or a configuration that ``save`` would not take, before anything is learned.
    """
    _check_path_and_config(path, config)
    as_json(config)
    return partial(_save_to, path, config)


def _save_to(path: str | Path, config: Mapping[str, Any], epoch: Epoch) -> None:
    save(path, epoch, config)


def _check_path_and_config(path: Any, config: Any) -> None:
    check_path("path", path)
    _check_entries("config", config)


def _check_entries(name: str, entries: Any) -> None:
    if not isinstance(entries, Mapping):
        raise TypeError(f"{name} must be a dict of numbers, strings, lists and dicts, got {described(entries)}")


def load(path: str | Path, like: Params, config: Mapping[str, Any], *, usual: Mapping[str, Any] | None = None) -> Epoch:
    """The epoch in the file ``path``, from which ``train`` continues.

    Args:
        path: a file that ``save`` wrote, on any backend.
        like: parameters (W1, b1, W2, b2, ...) of a new run, which decide library, device, shapes and dtype.
        config: the configuration that was given to ``save``.
        usual: what entries of ``config`` stand for where the file lacks them: older versions did not know them.

    Returns:
        The epoch: history, parameters, best parameters and the optimizer's state, placed like ``like``.

    Raises:
        TypeError: an argument is something else.
        ValueError: one sentence that begins with the path. The file can't be read, is truncated or damaged, is no
            checkpoint, was written by a newer version, or has another configuration, shape or dtype than expected.
        ModuleNotFoundError: safetensors is not installed.
    """
    _check_path_and_config(path, config)
    usual = {} if usual is None else usual
    _check_entries("usual", usual)
    like = check_parameters("like", like)
    names = [parameter_name(position) for position in range(len(like))]
    if not like:
        raise ValueError("like must hold the parameters of a new run, got none")
    xp, device = namespace(*like, names=names), device_of(like[0])
    arrays, header = files.read(path, _KIND)
    with parts_of(path, _KIND):
        check_type("header", header, _Header)
        for field in Record._fields[:-1]:  # of members only an ensemble has records
            check_type(f"history.{field}", header["history"][field], list[Any])
        history = _records(header["history"])
    dtypes = header["dtypes"]
    another = f"{path} is a checkpoint of another configuration: "
    wanted = _entries(config)
    older = {name: value for name, value in _entries(usual).items() if name in wanted}
    _check_equal(another, wanted, older | _entries(header["config"]), missing="nothing")
    expected = {name: _described(p.shape, dtype_name(p.dtype)) for name, p in zip(names, like, strict=True)}
    found = {name: _described(array.shape, dtypes.get(name, "unknown")) for name, array in arrays.items()}
    if "best.W1" in dtypes:
        expected |= {f"best.{name}": described for name, described in expected.items()}
    states = [name for name in dtypes if name.startswith("state.")]
    expected |= {name: found.get(name, "there") for name in states}
    _check_equal(f"{path}: ", expected, found, missing="none")

    with parts_of(path, _KIND):
        placed = {
            name: xp.asarray(array, dtype=getattr(xp, dtypes[name]), device=device) for name, array in arrays.items()
        }
    params = tuple(placed[name] for name in names)
    best = tuple(placed[f"best.{name}"] for name in names) if "best.W1" in placed else params
    state = tuple(placed[name] for name in states)
    # older files say neither
    return Epoch(history, params, best, state, header.get("optimizer", ""), header.get("rows", 0))


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    """The records by field; those of members, by field again, only where there are any: older readers know none."""
    columns: dict[str, list[Any]] = {
        field: [getattr(record, field) for record in records] for field in Record._fields if field != "members"
    }
    if any(record.members for record in records):
        columns["members"] = [_columns(record.members) for record in records]
    return columns


def _records(columns: Mapping[str, list[Any]]) -> tuple[Record, ...]:
    """The records of ``_columns``."""
    rows: list[dict[str, Any]]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    records = tuple([Record(**row)._replace(members=_records(row.get("members", {}))) for row in rows])
    check_type("history", records, tuple[Record, ...])
    return records


def _check_equal(what: str, expected: Mapping[str, str], found: Mapping[str, str], missing: str) -> None:
    """Raise for the first entry that differs: ``what``, then its name and both values."""
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise ValueError(f"{what}{name} must be {expected.get(name, 'absent')}, got {found.get(name, missing)}")


def _entries(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """``{"optimizer": {"beta1": 0.9}}`` as ``{"optimizer.beta1": "0.9"}``. As JSON, NaN equals NaN, a tuple a list."""
    entries: dict[str, str] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping)
        entries |= _entries(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": as_json(value)}
    return entries


def _described(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype} {tuple(shape)}"


def fingerprint(*arrays: Array | Any | Dataset) -> str:
    """Shapes and SHA-256 of the data, equal on every backend: ``"(1797, 64) (1797,) 3f0c..."``, for ``config``.

    Args:
        arrays: arrays of any library, sparse matrices, or sources, as ``train`` takes them; each value is read once.
            Integers of different widths and equal values have the same fingerprint; float32 and float64 do not. A
            ``Dataset`` stands for X, y and the weights of its rows.

    Returns:
        The shapes and the first 16 hexadecimal digits.

    Raises:
        TypeError: for something else than an array, or an array of Python objects, whose values are not in it.

    >>> import numpy as np
    >>> fingerprint(np.zeros((3, 2)), np.arange(3, dtype="int8"))[:23]
    '(3, 2) (3,) ee4f5dc2531'
    """
    digest, shapes = hashlib.sha256(), []
    held: list[tuple[Any, Any]] = []
    for each in arrays:
        if isinstance(each, Dataset):
            held += [(array, each.rows) for array in each[:3] if array is not None]
        else:
            held.append((each, None))
    for position, (array, rows) in enumerate(held, start=1):
        name = f"array {position} of a fingerprint"
        xp = namespace(array, names=(name,)) if is_array(array) else cast(Namespace, np)
        shapes.append(str(tuple(array.shape if rows is None else (len(rows), *array.shape[1:]))))
        for part in _parts(array, rows):
            host, integral = to_host(part), is_integral(xp, part.dtype)
            if host.dtype.hasobject:
                raise TypeError(f"{name} must hold numbers, got Python objects")
            digest.update(np.asarray(host, dtype="<i8" if integral else host.dtype.newbyteorder("<")).tobytes())
    return " ".join([*shapes, digest.hexdigest()[:16]])


def _parts(array: Any, rows: Any) -> Iterator[Array]:
    """The numbers of these rows of an array, or of all for None, part by part; those that a sparse matrix holds."""
    if is_array(array):
        yield from in_parts(array, rows)
        return
    if is_source(array):
        yield from all_of(array, rows)
        return
    matrix = by_rows(array) if rows is None else by_rows(array)[rows]
    for held in (matrix.data, matrix.indices, matrix.indptr):
        yield from in_parts(held)


def _named(params: Params, prefix: str = "") -> dict[str, Array]:
    return {prefix + parameter_name(position): array for position, array in enumerate(params)}
