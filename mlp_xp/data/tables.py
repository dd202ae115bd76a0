"""The functions on tables under their names of version 0.1.0; their homes are ``columns`` and ``encoding``."""

from collections.abc import Iterable
from typing import Any

from mlp_xp._lib.moved import renamed
from mlp_xp.data.cells import cells_of
from mlp_xp.data.columns import Wanted, decide
from mlp_xp.data.encoding import Column, as_numbers, check_named, encode
from mlp_xp.data.tally import Tally, look

__all__ = ["Column", "as_numbers", "check_named", "encode", "learn_columns"]


# --- names of version 0.1.0 --------------------------------------------------------------------------------------

__getattr__ = renamed(__name__, {"open_table": "mlp_xp.data.open_data", "from_openml": "mlp_xp.data.typed.from_openml"})


# --- columns -----------------------------------------------------------------------------------------------------


def learn_columns(where: str, frame: Any, target: str, drop: Iterable[str], categories: Iterable[str]) -> list[Column]:
    """A ``Column`` for each feature of a table that is of use.

    Args:
        where: the name of the data in an error.
        frame: all rows.
        target: the column that is no feature.
        drop: columns to leave out.
        categories: columns whose values are categories.

    Raises:
        ValueError: for text among numbers, and for no column at all.
    """
    wanted, found = Wanted(missing="refuse", categories=tuple(categories)), []
    for name in frame.columns:
        if name != target and name not in drop:
            tally = look(Tally(), cells_of(f"{where}: column {name!r}", frame[name]))
            found.append(decide(where, str(name), tally, wanted).column)
    columns = [column for column in found if column is not None]
    if not columns:
        raise ValueError(f"{where} must have a column besides the target {target!r}, got none with a value")
    return columns
