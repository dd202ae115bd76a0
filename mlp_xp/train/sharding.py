"""JAX on several devices: the rows of a batch are divided among them, and XLA sums the gradients.

A step is then one program for all devices of a mesh. From the place of each array XLA sees what a device has to compute
and what it has to send: the sum of the gradients over the devices.

Before: ``step`` makes the functions that are compiled. Next: ``loop`` takes ``split`` as its ``compile``.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mlp_xp._lib.arguments import described, one_of
from mlp_xp._lib.namespace import AUTO_AXES, kind_of, namespace, to_host
from mlp_xp.train.dataset import Batch, filled


def split(mesh: Any, axis: str | None = None) -> Callable[[Any], Any]:
    """A compiler for ``train(..., compile=split(mesh))``: each of P devices computes n / P rows of a batch of n.

    The run is, to rounding, that of one device: order, masks and records are the same. A batch that P does not divide
    is filled up with rows that do not count. Parameters and the optimizer's state are whole on each device.

    What the devices send to each other in a step is one sum of the gradients, an all-reduce, and the rows of the batch
    where ``X`` is divided. Shuffled rows may then lie on any device, and the batch (n, d_in) is one more all-reduce:
    where d_in is large, more than the gradients. An ``X`` that is whole on each device costs none, so divide one that
    is too large for that. An ``X`` on one device is copied whole to each, once.

    Several processes, after ``jax.distributed.initialize``, call ``train`` with equal arguments. An array either spans
    the processes, as ``jax.make_array_from_process_local_data`` makes it, or each process has it all. JAX divides an
    array into equal parts alone; where rows are missing, add some whose ``sample_weight`` is 0. Each process yields
    equal epochs, with whole arrays, so one of them can save for all.

    Args:
        mesh: a ``jax.sharding.Mesh`` with axes of ``AxisType.Auto``; P is the number of its devices.
        axis: the name of the axis along which rows are divided, and P its size; along other axes each device computes
            the same. None for all axes.

    Returns:
        ``compiler(step)``, which returns a faster step.

    Raises:
        TypeError: for anything but a mesh, and, in the run, for arrays of another library.
        ValueError: for an axis that the mesh lacks, or a mesh with axes of another type.

    >>> import jax  # doctest: +SKIP
    >>> auto = jax.sharding.AxisType.Auto  # doctest: +SKIP
    >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(auto,))  # doctest: +SKIP
    >>> by_rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))  # doctest: +SKIP
    >>> X, y = jax.device_put((X, y), by_rows)  # doctest: +SKIP
    >>> *_, last = train(X, y, params, epochs=10, compile=split(mesh))  # doctest: +SKIP

    Source: Xu et al., GSPMD: general and scalable parallelization for ML computation graphs, 2021.
    """
    names = getattr(mesh, "axis_names", None)
    if names is None or not hasattr(mesh, "devices"):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {described(mesh)}")
    if axis is not None and axis not in names:
        raise ValueError(f"axis must be {one_of(names, axis)}")
    kinds = [kind.name for kind in getattr(mesh, "axis_types", None) or ()]  # an older JAX has none
    if any(kind != "Auto" for kind in kinds):
        raise ValueError(f"mesh must have {AUTO_AXES}, got {', '.join(kinds)}")
    axes = tuple(names) if axis is None else (axis,)
    division = _Division(mesh, axes, math.prod(mesh.shape[name] for name in axes))

    def compiler(function: Any) -> Any:
        return _compiled(division, function)

    return compiler


class _Division(NamedTuple):
    """How rows are divided.

    mesh: of devices.
    axes: the names of its axes along which they are.
    parts: into how many parts.
    """

    mesh: Any
    axes: tuple[str, ...]
    parts: int

    def sharding(self, axis: int | None = None) -> Any:
        """The place of an array that is divided along ``axis``; for None of one that is whole on each device."""
        from jax.sharding import NamedSharding, PartitionSpec

        spec = PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, self.axes)
        return NamedSharding(self.mesh, spec)

    def by_rows(self, batch: Batch, divide: Callable[[Any, Any], Any]) -> Batch:
        """The batch with ``divide(array, sharding)`` in place of each array that has an entry for each of its rows."""
        if batch.rows is not None:
            return batch._replace(rows=divide(batch.rows, self.sharding(0)))
        weight = None if batch.weight is None else divide(batch.weight, self.sharding(batch.weight.ndim - 1))
        X, y = (divide(array, self.sharding(0)) for array in (batch.X, batch.y))
        return batch._replace(X=X, y=y, weight=weight)


def _compiled(division: _Division, function: Any) -> Any:
    """``function``, of arrays and tuples of them, for all devices: of a ``Batch`` each has a part of the rows."""
    import jax

    def in_parts(*arguments: Any) -> Any:
        return function(*[_in_parts(division, each) if isinstance(each, Batch) else each for each in arguments])

    fast, placed = jax.jit(in_parts, out_shardings=division.sharding()), _placement(division)

    def step(*arguments: Any) -> Any:
        return fast(*map(placed, itertools.count(), arguments))

    return step


def _in_parts(division: _Division, batch: Batch) -> Batch:
    """A batch, as the compiler sees it, filled up to equal parts, each on its own device."""
    from jax.lax import with_sharding_constraint

    xp, n = namespace(batch.X), (batch.X if batch.rows is None else batch.rows).shape[0]
    if n % division.parts:
        batch = filled(xp, batch, n + -n % division.parts)._replace(n=xp.full((), n, dtype=xp.int32))
    return division.by_rows(batch, with_sharding_constraint)


def _placement(division: _Division) -> Callable[[int, Any], Any]:
    """``placed(number, argument)``: an argument of a step, on the devices of the mesh."""
    import jax

    whole = division.sharding()
    latest: dict[Any, tuple[Any, Any]] = {}  # by its place what came from elsewhere, and what it is on the mesh

    def is_there(array: Any) -> bool:
        if not hasattr(array, "sharding"):
            raise TypeError(f"split(mesh) takes arrays of JAX, got {kind_of(array)}")
        return bool(array.sharding == whole or array.sharding.device_set == whole.device_set)

    def put(array: Any, sharding: Any) -> Any:
        """On the mesh; an array that is there stays as it is, in whatever parts."""
        if is_there(array):
            return array
        if sharding.is_fully_addressable:
            return jax.device_put(array, sharding)
        host = to_host(array)  # JAX moves none between processes: each has all of it
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    def put_once(array: Any, *place: int) -> Any:
        """On the mesh, an array that may come again with the next step, from elsewhere."""
        if array is None or is_there(array):
            return array
        if place not in latest or latest[place][0] is not array:
            latest[place] = array, put(array, whole)
        return latest[place][1]

    def alone(array: Any) -> Any:
        """An array of one step: JAX takes it to the others itself, unless it was put elsewhere."""
        return put(array, whole) if getattr(array, "committed", False) else array

    def placed(number: int, argument: Any) -> Any:
        if not isinstance(argument, tuple):
            return alone(argument)
        if not isinstance(argument, Batch):
            leaves, form = jax.tree.flatten(argument)
            return jax.tree.unflatten(form, [put_once(leaf, number, place) for place, leaf in enumerate(leaves)])
        if argument.rows is None and argument.X.shape[0] % division.parts == 0:
            return division.by_rows(argument, put)
        X, y, weight = (put_once(array, number, place) for place, array in enumerate(argument[:3]))
        return argument._replace(X=X, y=y, weight=weight, rows=alone(argument.rows))

    return placed
