"""``Cells``, a column of some rows in one of three forms, whatever its dtype: numbers, moments, or texts.

Before: ``values`` reads a text as a number or a date. Next: ``encoding`` turns cells into columns of X, ``columns``
decides how.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_xp.data.values import naive

_EXACT = 2.0**53  # whole numbers below are exact as float64


class Cells(NamedTuple):
    """A column of n rows; one of ``numbers``, ``moments`` and ``codes`` is there.

    numbers: (n,), NaN for a missing value.
    moments: (n,) in UTC, NaT for a missing value.
    texts: texts without surrounding blanks, each once, those that stand for a missing value included.
    codes: (n,) which of the texts each row has; -1 for a value that is missing for sure.
    nominal: whether the file says that these are categories.
    """

    numbers: NDArray[np.float64] | None = None
    moments: NDArray[np.datetime64] | None = None
    texts: tuple[str, ...] = ()
    codes: NDArray[np.int64] | None = None
    nominal: bool = False

    def by_row(self, values: NDArray[Any], missing: Any) -> NDArray[Any]:
        """For each row what ``values`` has for its text, ``missing`` where there is no text: (n,)."""
        return np.append(values, np.asarray([missing], dtype=values.dtype))[self.codes]  # -1 is the last

    def as_texts(self) -> "Cells":
        """The same cells as texts; a whole number has no point."""
        if self.codes is not None:
            return self
        import pandas as pd

        found = self.numbers if self.numbers is not None else self.moments
        codes, values = pd.factorize(found)
        if self.numbers is None:
            values = np.datetime_as_string(values, unit="auto") if len(values) else values
        return Cells(texts=tuple(map(plain_text, values.tolist())), codes=codes.astype(np.int64))


def cells_of(where: str, column: Any, decimal: str = ".", missing: Iterable[str] = (), spelled: bool = False) -> Cells:
    """The cells of a column of a data frame; texts that are numbers in all rows become numbers.

    Args:
        where: the name of the column in an error.
        column: a pandas series of any dtype.
        decimal: the decimal mark of numbers in texts.
        missing: texts that stand for a missing value.
        spelled: whether texts stay as they are spelled.

    Raises:
        ValueError: for complex numbers.

    >>> import pandas as pd
    >>> cells_of("a.csv", pd.Series(["x", " y", None, "x"])).texts
    ('x', 'y')
    >>> cells_of("a.csv", pd.Series(["1", ""])).numbers.tolist()
    [1.0, nan]
    """
    import pandas as pd

    kinds, dtype = pd.api.types, column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        texts = tuple(map(plain_text, dtype.categories.to_numpy()))
        return _stripped(texts, column.cat.codes.to_numpy().astype(np.int64), nominal=True)
    if kinds.is_bool_dtype(dtype):
        codes = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return Cells(texts=("False", "True"), codes=np.where(np.isnan(codes), -1, codes).astype(np.int64))
    if isinstance(dtype, pd.StringDtype):
        return _texts(column, decimal, frozenset(missing), spelled)
    if kinds.is_datetime64_any_dtype(dtype):
        return Cells(moments=naive(column))
    if isinstance(dtype, pd.PeriodDtype):
        return Cells(moments=naive(column.dt.to_timestamp()))
    if kinds.is_timedelta64_dtype(dtype):
        return Cells(numbers=(column / np.timedelta64(1, "D")).to_numpy(dtype=np.float64))
    if kinds.is_complex_dtype(dtype):
        raise ValueError(f"{where} must hold numbers or text, got {dtype}")
    if kinds.is_numeric_dtype(dtype):
        return Cells(numbers=column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _python_values(column, decimal, frozenset(missing), spelled)


def _python_values(column: Any, decimal: str, missing: frozenset[str], spelled: bool) -> Cells:
    """The cells of a column of Python values of one kind or several."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        with suppress(OverflowError):  # an int of 400 digits, which is said as of a text
            return Cells(numbers=pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
    if kind in ("date", "datetime", "datetime64"):
        return Cells(moments=naive(pd.to_datetime(column.astype(object), utc=True, errors="coerce")))
    there = column.notna().tolist()
    texts = [plain_text(value) if known else None for value, known in zip(column.tolist(), there, strict=True)]
    return _texts(pd.Series(texts, dtype="str"), decimal, missing, spelled)


def _texts(column: Any, decimal: str, missing: frozenset[str], spelled: bool) -> Cells:
    """Numbers if all texts are plain numbers that float64 holds exactly, unless spellings matter; else texts."""
    import pyarrow as pa
    from pyarrow import compute

    array = pa.array(column, type=pa.large_string(), from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    # most columns have no empty field: they go first
    numbers = None if missing or spelled else _plain_numbers(array, decimal)
    if numbers is None:
        absent = compute.is_in(array, pa.array(["", *missing], type=pa.large_string()))
        if absent.true_count or missing:
            array = compute.if_else(absent, pa.scalar(None, pa.large_string()), array)
            numbers = None if spelled else _plain_numbers(array, decimal)
    if numbers is not None:
        return Cells(numbers=numbers)
    array = array.dictionary_encode()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return _stripped(tuple(array.dictionary.to_pylist()), codes)


def _plain_numbers(array: Any, decimal: str) -> NDArray[np.float64] | None:
    """The numbers, if all texts are plain ones; this takes a tenth of the time that different texts take."""
    import pyarrow as pa
    from pyarrow import compute

    if array.null_count == len(array):
        return None
    if decimal == ",":
        if compute.any(compute.match_substring(array, ".")).as_py():
            return None
        array = compute.replace_substring(array, ",", ".")
    try:
        numbers: NDArray[np.float64] = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    if np.nanmax(np.abs(numbers), initial=0.0) >= _EXACT:  # digits would be lost, infinity has a spelling to show
        return None
    return None if _has_needless_zero(array) else numbers


def _has_needless_zero(numbers: Any) -> bool:
    """Whether one of some plain numbers begins with a zero before another digit, which may make a code of it."""
    import pyarrow as pa
    from pyarrow import compute

    # a pattern takes longer than all the rest, so only what begins with a zero or a sign is compared with it
    _, ends, letters = numbers.buffers()
    ends = np.frombuffer(ends, np.int64)[numbers.offset : numbers.offset + len(numbers) + 1]
    longer = np.flatnonzero(np.diff(ends) > 1)
    first = np.frombuffer(letters, np.uint8)[ends[longer]]
    doubtful = longer[(first == ord("0")) | (first == ord("-")) | (first == ord("+"))]
    found = compute.match_substring_regex(numbers.take(pa.array(doubtful)), "^[+-]?0[0-9]")
    return bool(compute.any(found).as_py())


def _stripped(texts: tuple[str, ...], codes: NDArray[np.int64], nominal: bool = False) -> Cells:
    """The cells, texts that differ in surrounding blanks alone being one."""
    stripped = [text.strip() for text in texts]
    place = {text: position for position, text in enumerate(dict.fromkeys(stripped))}
    if len(place) < len(texts):
        codes = np.asarray([*(place[text] for text in stripped), -1])[codes]
    return Cells(texts=tuple(place), codes=codes, nominal=nominal)


def plain_text(value: Any) -> str:
    """A value as it would be in a text file; a whole number has no point.

    >>> plain_text(6.0), plain_text(6.5), plain_text(True), plain_text(b"x")
    ('6', '6.5', 'True', 'x')
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and abs(float(value)) < _EXACT and value == int(value):
        return str(int(value))
    return str(value)
