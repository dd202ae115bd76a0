"""Checkpoints: where training stands, in one safetensors file, so that a run that was killed goes on from there.

    start = checkpoint.load(path, params, config) if path.exists() else params
    for epoch in train(X, y, start, **settings, callbacks=[checkpoint.saver(path, config)]):
        ...

What goes on is the run that never stopped, to the last bit: on the same backend and device, where that computes the
same twice. There is no random state to be kept beyond the seed: all that ``train`` draws is a function of the seed and
of the number of the epoch, so the seed in ``config`` is the random state.

Before: ``train`` makes the epochs. Next: ``estimators`` and ``cli`` keep them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np  # on the host alone: what a file holds

from mlp_xp._lib import files
from mlp_xp._lib.files import as_json, dtype_name
from mlp_xp._lib.namespace import device_kwargs, is_integral, namespace, parameter_name, to_host
from mlp_xp._lib.typing import Array, Params
from mlp_xp.train import Epoch, Record, is_sparse

_KIND = "checkpoint"

_ROWS = 2**16  # of the data, brought to the host at a time


def save(path: str | Path, epoch: Epoch, config: Mapping[str, Any]) -> None:
    """Write ``epoch`` to ``path``, whole or not at all.

    Args:
        path: the file; an older checkpoint there is replaced.
        epoch: from ``train``.
        config: whatever decides how the run goes on, as numbers, strings, lists and dicts: sizes, activation,
            criterion, optimizer and its constants, schedule, batch size, seed, and the data's ``fingerprint``.

    Raises:
        OSError: when it can't be written; what was there before still is.
    """
    arrays = _named(epoch.params)
    if epoch.best is not epoch.params:
        arrays |= _named(epoch.best, "best.")
    arrays |= {f"state.{position}": array for position, array in enumerate(epoch.state)}
    header = {
        "config": config,
        "dtypes": {name: dtype_name(array.dtype) for name, array in arrays.items()},
        "history": {field: [getattr(record, field) for record in epoch.history] for field in Record._fields},
    }
    files.write(path, _KIND, arrays, header)


def saver(path: str | Path, config: Mapping[str, Any]) -> Callable[[Epoch], None]:
    """A callback for ``train`` that saves each epoch: arguments as in ``save``."""
    return lambda epoch: save(path, epoch, config)


def load(path: str | Path, like: Params, config: Mapping[str, Any]) -> Epoch:
    """The epoch in the file ``path``, for ``train`` to go on from.

    Args:
        path: from ``save``, on any backend.
        like: parameters as training would start from: theirs are the library, the device, the shapes and the dtype.
        config: as given to ``save``; a checkpoint of another one is refused.

    Raises:
        ValueError: one sentence that begins with the path, for a file that can't be read, is truncated, damaged, of
            another kind or newer; for another configuration, with the first entry that differs; for other shapes.
    """
    arrays, header = files.read(path, _KIND)
    dtypes, history = header["dtypes"], header["history"]
    _check_config(path, config, header["config"])
    names = [parameter_name(position) for position in range(len(like))]
    expected = {name: _described(p.shape, dtype_name(p.dtype)) for name, p in zip(names, like, strict=True)}
    found = {name: _described(array.shape, dtypes.get(name, "unknown")) for name, array in arrays.items()}
    if "best.W1" in dtypes:
        expected |= {f"best.{name}": described for name, described in expected.items()}
    states = [name for name in dtypes if name.startswith("state.")]
    expected |= {name: found.get(name, "there") for name in states}
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise ValueError(f"{path}: {name} must be {expected.get(name, 'absent')}, got {found.get(name, 'none')}")

    xp = namespace(*like)
    placed = {
        name: xp.asarray(array, dtype=getattr(xp, dtypes[name]), **device_kwargs(like[0]))
        for name, array in arrays.items()
    }
    params = tuple(placed[name] for name in names)
    best = tuple(placed[f"best.{name}"] for name in names) if "best.W1" in placed else params
    records = (dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True))
    return Epoch(tuple(Record(**record) for record in records), params, best, tuple(placed[name] for name in states))


def _check_config(path: str | Path, config: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """Raise for the first entry that differs, told apart by what JSON makes of it: NaN equals NaN, a tuple a list."""
    expected, found = _entries(config), _entries(written)
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            wanted, came = expected.get(name, "absent"), found.get(name, "nothing")
            raise ValueError(f"{path} is a checkpoint of another configuration: {name} must be {wanted}, got {came}")


def _entries(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """``{"optimizer": {"beta1": 0.9}}`` as ``{"optimizer.beta1": "0.9"}``."""
    entries: dict[str, str] = {}
    for name, value in config.items():
        entries |= (
            _entries(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": as_json(value)}
        )
    return entries


def _described(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype} {tuple(shape)}"


def fingerprint(*arrays: Array | Any) -> str:
    """Shapes and a digest of the data, equal on every backend: ``"(1797, 64) (1797,) 3f0c..."``, an entry of a config.

    Every value is looked at, once. Integers of any width count alike; floats do not.
    """
    digest, shapes = hashlib.sha256(), []
    for array in arrays:
        shapes.append(str(tuple(array.shape)))
        for part in _csr(array) if is_sparse(array) else (array,):
            integral = is_integral(namespace(part), part.dtype)
            n = part.shape[0]
            for low in range(0, n, _ROWS):
                host = to_host(part[low : min(low + _ROWS, n), ...])
                digest.update(np.asarray(host, dtype="<i8" if integral else host.dtype.newbyteorder("<")).tobytes())
    return " ".join([*shapes, digest.hexdigest()[:16]])


def _csr(array: Any) -> tuple[Any, ...]:
    rows = array.tocsr()
    return rows.data, rows.indices, rows.indptr


def _named(params: Params, prefix: str = "") -> dict[str, Array]:
    return {prefix + parameter_name(position): array for position, array in enumerate(params)}
