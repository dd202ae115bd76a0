"""Files whose checksum is right and of whose header one part is missing or of another type."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from mlp_xp._lib import files

GONE = object()
OTHERS: tuple[Any, ...] = (GONE, None, "x", -1, 2.5, True, [], {}, [None], {"x": 1}, 10**30)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a header; of a list to its first and its last entry."""
    inside: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        ends = {*range(len(value))[:1], *range(len(value))[-1:]}
        inside = [(place, value[place]) for place in sorted(ends)]
    for key, each in inside:
        yield (*before, key)
        yield from places(each, (*before, key))


def changed(header: dict[str, Any], place: tuple[Any, ...], other: Any) -> dict[str, Any]:
    """A header with another part in a place, or none."""
    made = copy.deepcopy(header)
    *way, last = place
    inside: Any = made
    for key in way:
        inside = inside[key]
    if other is GONE:
        del inside[last]
    else:
        inside[last] = other
    return made


def written(path: Path, kind: str, one_in: int = 1, seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """Write the file ``path`` anew with each part of its header changed in turn, or with one of so many of them.

    Yields the place of the part, and what it has become.
    """
    drawn = random.Random(seed)
    arrays, header = files.read(path, kind)
    whole = path.read_bytes()
    with mock.patch.object(files, "write_whole", lambda path, data: path.write_bytes(data)):  # no wait for the disk
        for place in places(header):
            for other in OTHERS:
                if drawn.randrange(one_in):
                    continue
                files.write(path, kind, arrays, changed(header, place, other))
                yield place, "gone" if other is GONE else other
        for name in arrays:
            files.write(path, kind, {key: each for key, each in arrays.items() if key != name}, header)
            yield name, "gone"
    path.write_bytes(whole)


def refused(path: Path, load: Callable[[], Any], one_in: int, kind: str) -> int:
    """How many files ``load`` refuses, each in one line that begins with the path; it may take the others."""
    count = 0
    for place, other in written(path, kind, one_in):
        said = None
        try:
            load()
        except ValueError as error:
            said = str(error)
        assert said is None or re.fullmatch(f"{re.escape(str(path))}.*", said), (place, other, said)
        count += said is not None
    return count
