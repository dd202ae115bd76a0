"""A function of arrays, recorded once and replayed: all its launches on a device at once, where each takes time.

The recording reads arrays of its own and writes into arrays of its own: what a call is given is copied into the first,
and what it returns is copied out of the second. An array that is the same in each call, as the rows of a data set are,
is read where it is.

Before: ``compiling`` asks for it. What PyTorch has for it, CUDA graphs, stands at the end of this file.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from mlp_xp._lib.arguments import first_line
from mlp_xp._lib.wording import warn

Recorder: TypeAlias = Callable[[Any, Any], tuple[Any, Callable[[], Any]]]
"""``record(function, arguments) -> (results, replay)``: a replay reads ``arguments`` and writes into ``results``."""

Copier: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], None]
"""``copy(targets, sources)``: the values of some arrays into others of their shapes and dtypes."""


class Recording(NamedTuple):
    """A recorded call.

    read: the arrays that it reads, in their order.
    fixed: those of the caller's arrays that it reads where they are, by their place in ``read``.
    results: what it returned, in tuples; a replay writes into their arrays.
    replay: does it again.
    """

    read: list[Any]
    fixed: dict[int, Any]
    results: Any
    replay: Callable[[], Any]


def leaves_of(tree: Any) -> Iterator[Any]:
    """What stands in tuples of tuples, in its order."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from leaves_of(part)
    else:
        yield tree


def filled(tree: Any, leaves: Iterator[Any]) -> Any:
    """The same tuples of tuples with these in them."""
    if not isinstance(tree, tuple):
        return next(leaves)
    parts = [filled(part, leaves) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape")


def _kinds(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """What a recording holds for: shapes and dtypes of arrays, the values of what is none."""
    return tuple((tuple(leaf.shape), leaf.dtype) if _is_array(leaf) else leaf for leaf in leaves)


def replayed(function: Any, record: Recorder, copy: Copier, empty_like: Callable[[Any], Any]) -> Any:
    """``function``, of arrays in tuples, recorded at its second call with arrays of some shapes; later ones replay it.

    Args:
        function: pure, of arrays in tuples.
        record: records a call.
        copy: copies arrays.
        empty_like: makes an array like another.

    What can't be recorded is called as it is, after a warning.
    """
    known: dict[Any, list[Any] | Recording] = {}
    refused = False

    def call(*arguments: Any) -> Any:
        nonlocal refused
        if refused:
            return function(*arguments)
        leaves = list(leaves_of(arguments))
        kinds = _kinds(leaves)
        seen = known.get(kinds)
        if seen is None:
            known[kinds] = leaves  # what compiles and allocates once is done before it is recorded
            return function(*arguments)
        if not isinstance(seen, Recording):
            seen = _record(arguments, leaves, {i: leaf for i, leaf in enumerate(leaves) if leaf is seen[i]})
        elif any(leaves[i] is not leaf for i, leaf in seen.fixed.items()):
            seen = _record(arguments, leaves, {i: leaf for i, leaf in seen.fixed.items() if leaves[i] is leaf})
        if seen is None:
            refused = True
            known.clear()
            return function(*arguments)
        known[kinds] = seen
        moving = [i for i, leaf in enumerate(leaves) if _is_array(leaf) and i not in seen.fixed]
        copy([seen.read[i] for i in moving], [leaves[i] for i in moving])
        seen.replay()
        made = list(leaves_of(seen.results))
        fresh = [empty_like(each) if _is_array(each) else each for each in made]
        arrays = [i for i, each in enumerate(made) if _is_array(each)]
        copy([fresh[i] for i in arrays], [made[i] for i in arrays])
        return filled(seen.results, iter(fresh))

    def _record(arguments: Any, leaves: list[Any], fixed: dict[int, Any]) -> Recording | None:
        read = [leaf if i in fixed or not _is_array(leaf) else empty_like(leaf) for i, leaf in enumerate(leaves)]
        moving = [i for i, leaf in enumerate(leaves) if read[i] is not leaf]
        copy([read[i] for i in moving], [leaves[i] for i in moving])
        try:
            results, replay = record(function, filled(arguments, iter(read)))
        except Exception as error:  # of the library, or of a function of the caller's that looks at values
            warn(
                f"the step is compiled, but its launches are not recorded: {type(error).__name__}: {first_line(error)}"
            )
            return None
        return Recording(read, {i: leaf for i, leaf in fixed.items() if _is_array(leaf)}, results, replay)

    return call


# --- PyTorch -----------------------------------------------------------------------------------------------------


def on_torch(function: Any) -> Any:
    """``function``, of PyTorch's arrays in tuples, replayed where all of them are on a CUDA device."""
    chosen: Any = None

    def call(*arguments: Any) -> Any:
        nonlocal chosen
        if chosen is None:
            import torch

            # a recording would keep the value of an array on the host
            there = all(leaf.is_cuda for leaf in leaves_of(arguments) if _is_array(leaf))
            chosen = replayed(function, cuda_graph, _copy_together, torch.empty_like) if there else function
        return chosen(*arguments)

    return call


def cuda_graph(function: Any, arguments: Any) -> tuple[Any, Callable[[], Any]]:
    """A recorder: one call as a CUDA graph."""
    import torch

    device = next(leaf.device for leaf in leaves_of(arguments) if _is_array(leaf))
    with torch.cuda.device(device):
        # on a stream of its own, once before it is recorded: what PyTorch asks for
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            function(*arguments)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = function(*arguments)
    return results, graph.replay


def _copy_together(targets: Sequence[Any], sources: Sequence[Any]) -> None:
    """A copier: one launch for all arrays of a dtype."""
    import torch

    pairs: dict[Any, tuple[list[Any], list[Any]]] = {}
    for target, source in zip(targets, sources, strict=True):
        group = pairs.setdefault(target.dtype, ([], []))
        group[0].append(target)
        group[1].append(source)
    for group in pairs.values():
        torch._foreach_copy_(*group)
