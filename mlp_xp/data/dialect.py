"""How a text table is written, found by looking at its first lines: separator, header, row names, decimal mark.

Pure functions from lines or rows to an answer. ``csv`` of the standard library splits the lines.

Next: ``text`` reads the whole file so.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mlp_xp._lib.wording import count_of
from mlp_xp.data.values import AMONG_NUMBERS, MISSING, is_number, open_mark

CANDIDATES = ",\t;| "  # the earlier wins a draw
ROWS_LOOKED_AT = 1000
_SCORED = 200  # rows that decide the separator
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d\d(:\d\d(\.\d+)?)?")
_MISSING = MISSING | AMONG_NUMBERS | {"missing"}
_CLEAR_COMMA = re.compile(r"[-+]?(0,\d+|\d{4,},\d*|\d+,(\d{1,2}|\d{4,})|,\d+|\d{1,3}([. ]\d{3})+,\d*)([eE][-+]?\d+)?%?")
_CLEAR_POINT = re.compile(
    r"[-+]?(0\.\d+|\d{4,}\.\d*|\d+\.(\d{1,2}|\d{4,})|\.\d+|\d{1,3}([, ]\d{3})+\.\d*)([eE][-+]?\d+)?%?"
)
_MIXED = "the first column without a name may be one of row names, or a name may be missing"


class Row(NamedTuple):
    """The fields of a row, and the numbers of its first and its last line."""

    fields: list[str]
    first: int
    line: int


class Layout(NamedTuple):
    """Where the rows of a text table are, and what its columns are called.

    names: of the columns that are read.
    chosen: their positions in a row.
    width: the number of fields of a row.
    skip: the number of lines before the first row.
    header: whether a line names the columns.
    notes: sentences that say what was found.
    """

    names: tuple[str, ...]
    chosen: tuple[int, ...]
    width: int
    skip: int
    header: bool
    notes: tuple[str, ...]


def is_empty(text: str) -> bool:
    """Whether a line has no more than blanks, and the mark of DOS for the end of a file."""
    return not text.replace("\x1a", "").strip()


def split(lines: Iterable[str], separator: str) -> Iterator[Row]:
    """The rows of ``lines``; blanks after a separator count for nothing, and lines without a text are left out.

    Raises:
        csv.Error: for a field of more than 128 KiB.
    """
    stripped = (line.rstrip(" \t\r\n") + "\n" for line in lines) if separator == " " else lines
    rows = csv.reader(stripped, delimiter=separator, skipinitialspace=True)
    before = 0
    for fields in rows:
        if len(fields) > 1 or not is_empty(fields[0] if fields else ""):
            yield Row(fields, before + 1, rows.line_num)
        before = rows.line_num


def is_value(text: str) -> bool:
    """Whether a text is a number, an amount, a share or a date: what a column holds and seldom a name.

    >>> [is_value(each) for each in ("-1.5e3", "12,345", "$1,234.50", "12 %", "2024-05-01", "x1", "")]
    [True, True, True, True, True, False, False]
    """
    text = text.strip()
    return is_number(text) or _DATE.fullmatch(text) is not None


def is_missing(text: str) -> bool:
    """Whether a text is likely to stand for a missing value: no number, and no name of a column."""
    return text.strip().lower() in _MISSING


# --- the separator -----------------------------------------------------------------------------------------------


def find_separator(lines: Sequence[str]) -> str:
    """What stands between two fields: the one of ``, tab ; |`` and blanks that splits the lines most alike.

    Lines that nothing splits alike are one column: the answer is then a character that none of them has.

    >>> find_separator(["a;b", "1,5;2,25", "3,5;4,0"]), find_separator(["a,b", "x;y,2"])
    (';', ',')
    """
    scores = {each: _score(lines, each) for each in CANDIDATES}
    best = max(scores.values())
    if best == _NOT_AT_ALL:
        return next((each for each in ",\t;|" if not any(each in line for line in lines)), "\x1f")
    return next(each for each, score in scores.items() if score == best)


_NOT_AT_ALL = (0.0, 0.0)


def _score(lines: Sequence[str], separator: str) -> tuple[float, float]:
    """How alike the rows are and how clean their fields; then the share of numbers."""
    try:
        rows = [row.fields for row, _ in zip(split(lines, separator), range(_SCORED), strict=False)]
    except csv.Error:
        return _NOT_AT_ALL
    while len(rows) > 2 and len(rows[0]) == 1 and separator != " ":
        rows.pop(0)  # a title
    widths = Counter(len(fields) for fields in rows if len(fields) > 1)
    ((width, alike),) = widths.most_common(1) or [(0, 0)]
    if alike < min(2, len(rows)) or not alike:
        return _NOT_AT_ALL
    if separator == " " and (alike < len(rows) - 1 or not _numeric(rows[1:] or rows, width) or _is_one_name(rows)):
        return _NOT_AT_ALL  # text with blanks in it
    fields = [field for row in rows if len(row) == width for field in row[:50]]
    numbers = sum(map(is_value, fields)) / len(fields)
    others = [each for each in ",;\t|" if each != separator]
    clean = sum(is_value(field) or not any(each in field for each in others) for field in fields) / len(fields)
    return round(alike / len(rows) * clean, 2), round(numbers, 2)


def _is_one_name(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is the name of one column, such as that of days with times, rather than a title."""
    first, below = rows[0], rows[1:]
    if len(first) > 1 or not below or _texts_above_numbers(below[0], below[1:]):
        return False
    return len(below[0]) > 2 or not _are_row_names([row[0] for row in below])


def _numeric(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The positions of the columns that hold numbers."""
    alike = [row for row in rows[:_SCORED] if len(row) == width]
    found = []
    for position in range(width):
        known = [row[position] for row in alike if not is_missing(row[position])]
        if known and sum(map(is_value, known)) > 0.9 * len(known):
            found.append(position)
    return found


# --- header and rows ---------------------------------------------------------------------------------------------


def lay_out(
    where: str, lines: Sequence[str], separator: str, header: bool | None, usual: Sequence[tuple[str, ...]] = ()
) -> Layout:
    """Where the rows begin in the first lines of a table, and what its columns are called.

    Args:
        where: the name of the data in an error.
        lines: the first lines, comments among them.
        separator: between two fields.
        header: whether a line names the columns; None to find it.
        usual: what as many columns are called where no line names them.

    Raises:
        ValueError: when the header has another number of fields than the rows.
    """
    comments = comments_in(lines)
    found = (row for row, _ in zip(split(lines[comments:], separator), range(ROWS_LOOKED_AT), strict=False))
    rows = [Row(fields, first + comments, line + comments) for fields, first, line in found]
    width = Counter(len(row.fields) for row in reversed(rows)).most_common(1)[0][0]
    notes: list[str] = []
    start = comments
    for title in rows[: _titles(rows, width)]:
        if any(field.strip() for field in title.fields):  # nothing is lost with a line of separators alone
            notes.append(f"line {title.first} is a title and is left out: {_shown(title.fields)}")
        start = rows.pop(0).line
    first, below = rows[0].fields, [row.fields for row in rows[1:] if len(row.fields) == width]
    if header is not True and _counts(first, width):
        notes.append(f"line {rows[0].first} counts rows and columns, as scikit-learn's files do, and is left out")
        return _numbered(width, rows[0].line, notes, usual)
    named = _named_in_comment(lines[:comments], separator, width)
    by_comment = header is not False and named and not (below and _texts_above_numbers(first, below))
    notes[:0] = _comments_note(lines[: comments - bool(by_comment)])
    if by_comment and named:
        notes.append(f"line {comments} names the columns, a comment")
        return _called(where, named, [first, *below], width, start, notes)
    if is_header(first, below) if header is None else header:
        return _called(where, first, below, width, rows[0].line, notes)
    if len(first) != width:
        notes.append(f"line {rows[0].first} has {len(first)} fields, the others {width}, and is left out")
        start = rows[0].line
    return _numbered(width, start, notes, usual)


def comments_in(lines: Sequence[str]) -> int:
    """How many of the first lines are comments, empty, or ``sep=;`` of a spreadsheet; 0 where all lines are."""
    for count, line in enumerate(lines):
        if line.strip() and not line.startswith("#") and not re.fullmatch(r'"?sep=."?', line.strip()):
            return count
    return 0


def _comments_note(lines: Sequence[str]) -> list[str]:
    """A sentence about comments that are left out."""
    found = [(number, line) for number, line in enumerate(lines, 1) if line.startswith("#")]
    if not found:
        return []
    (first, text), (last, _) = found[0], found[-1]
    which = f"line {first} is a comment and is" if first == last else f"lines {first} to {last} are comments and are"
    return [f"{which} left out: {_shown([text])}"]


def _named_in_comment(comments: Sequence[str], separator: str, width: int) -> list[str] | None:
    """The fields of the last comment where they may be names: ``# x y`` of NumPy, ``#,name,type`` of a spreadsheet."""
    line = comments[-1] if comments else ""
    fields = next((row.fields for row in split([line.removeprefix("# ")], separator)), [])
    if len(fields) != width or width == 1 or not line.startswith("#"):
        return None
    return [fields[0].lstrip("#").strip() or "#", *fields[1:]]


def _titles(rows: Sequence[Row], width: int) -> int:
    """How many of the first rows are titles above a table of this width."""
    leading = next(place for place, row in enumerate(rows) if len(row.fields) == width)
    while leading < len(rows) - 1 and width > 2 and _is_single(rows[leading].fields):
        leading += 1
    below = [row.fields for row in rows[leading + 1 :] if len(row.fields) == width]
    as_in_r = leading == 1 and len(rows[0].fields) == width - 1 > 1  # a header without a name for the row names
    if below and not as_in_r and _texts_above_numbers(rows[leading].fields, below):
        return leading
    return leading if width > 2 and all(_is_single(row.fields) for row in rows[:leading]) else 0


def _is_single(fields: Sequence[str]) -> bool:
    """Whether there is one field at most; a spreadsheet writes the separators of those that are empty."""
    return sum(bool(field.strip()) for field in fields) <= 1


def _counts(fields: Sequence[str], width: int) -> bool:
    """Whether fields are those of the first line of scikit-learn's files: rows, columns, and names of classes."""
    whole = [bool(re.fullmatch(r"\d+", field.strip())) for field in fields]
    return len(fields) > 2 and whole[:2] == [True, True] and not any(whole[2:]) and int(fields[1]) == width - 1


def is_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: it has texts above numbers, or texts that no row below has.

    >>> is_header(["area", "kind"], [["1.5", "x"]]), is_header(["2.5", "x"], [["1.5", "x"], ["3", "y"]])
    (True, False)
    """
    if _is_range(first) or _are_years(first, below):
        return True
    if not below:
        return not any(map(is_value, first))
    if len(first) != len(below[0]):
        return not all(map(is_value, first))
    if _texts_above_numbers(first, below):
        return True
    column = [row[0].strip() for row in below]
    if not first[0].strip() and all(column) and len(set(column)) == len(column) > 1:
        return True  # no name above row names, as R and pandas write them
    numeric = _numeric(below, len(first))
    if any(is_value(first[position]) for position in numeric):
        return False
    texts = [position for position in range(len(first)) if position not in numeric]
    known = sum(any(row[position] == first[position] for row in below) for position in texts)
    return known <= len(texts) / 2


def _texts_above_numbers(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    numeric = _numeric(below, len(first))
    return any(not is_value(first[position]) and not is_missing(first[position]) for position in numeric)


def _is_range(fields: Sequence[str]) -> bool:
    """Whether fields are 0, 1, 2, ..., as of a data frame without names, perhaps after an empty name of its index."""
    numbers = [field.strip() for field in fields]
    numbers = numbers[1:] if numbers[:1] == [""] else numbers
    return len(numbers) > 2 and numbers == list(map(str, range(len(numbers))))


def _are_years(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether fields are names and then years, above what is not years."""
    start = next((place for place, field in enumerate(first) if is_value(field)), len(first))
    years = [field.strip() for field in first[start:]]
    if start == 0 or len(years) < 2 or not all(re.fullmatch("[12]\\d{3}", year) for year in years):
        return False
    steps = {int(later) - int(year) for year, later in pairwise(years)}
    column = [row[start].strip() for row in below if len(row) > start]
    return len(steps) == 1 and steps != {0} and not all(re.fullmatch("[12]\\d{3}", each) for each in column)


def _numbered(width: int, skip: int, notes: list[str], usual: Sequence[tuple[str, ...]]) -> Layout:
    for names in usual:
        if len(names) == width:
            said = f"no line names the columns, so they are called as in training, {names[0]!r} to {names[-1]!r}"
            return Layout(names, tuple(range(width)), width, skip, False, (*notes, said))
    names = tuple(f"column_{position}" for position in range(1, width + 1))
    called = "column_1" if width == 1 else f"column_1 to column_{width}"
    said = f"no line names the columns, so they are called {called}; --header takes the first line for names"
    return Layout(names, tuple(range(width)), width, skip, False, (*notes, said))


def _called(
    where: str, header: Sequence[str], below: Sequence[Sequence[str]], width: int, skip: int, notes: list[str]
) -> Layout:
    """The layout with the names in ``header``; row names and an empty last column are left out."""
    names, chosen = _unquoted([name.strip() for name in header]), list(range(width))
    if not below:
        width, chosen = len(names), list(range(len(names)))
    last_empty = bool(below) and all(not row[-1].strip() for row in below)
    if len(names) == width - 1 and last_empty and width > 2:
        chosen.pop()  # each row ends with a separator
    elif len(names) == width and not names[-1] and last_empty and width > 2:
        chosen.pop()  # the header does too
        names.pop()
    elif len(names) == width - 1:
        if not _are_row_names([row[0].strip() for row in below]):
            raise ValueError(f"{_other_width(where, len(names), width, skip)}; {_MIXED}")
        chosen.pop(0)
        notes.append("the first column has no name and is left out as row names, as R writes them")
    elif len(names) == width + 1 and not names[-1]:
        names.pop()
    elif len(names) != width:
        raise ValueError(_other_width(where, len(names), width, skip))
    return Layout(distinct(names, notes), tuple(chosen), width, skip, True, tuple(notes))


def _unquoted(names: list[str]) -> list[str]:
    """The names without single quotes, where all of them stand in such."""
    quoted = [len(name) > 2 and name[0] == name[-1] == "'" for name in names]
    return [name[1:-1] for name in names] if names and all(quoted) else names


def _other_width(where: str, names: int, width: int, line: int) -> str:
    have = f"line {line} must name the {count_of(width, 'field')} that the rows have, got {count_of(names, 'name')}"
    return f"{where}: {have}; --no-header leaves that line out and numbers the columns"


def _are_row_names(column: Sequence[str]) -> bool:
    """Whether a first column without a name holds row names: 1, 2, 3, ... or texts, each once."""
    if len(column) < 2 or len(set(column)) < len(column):
        return False
    counted = [str(number) for number in range(1, len(column) + 1)]
    return column == counted or (not any(map(is_value, column)) and not any(map(is_missing, column)))


def distinct(names: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Each name once: an empty one becomes "Unnamed: 0", a second "a" becomes "a.1", as in pandas."""
    found: list[str] = []
    again: list[str] = []
    for position, name in enumerate(names):
        plain = name or f"Unnamed: {position}"
        new, number = plain, 0
        while new in found or (number and new in names):
            number += 1
            new = f"{plain}.{number}"
        again += [repr(new)] if number else []
        found.append(new)
    if again:
        listed = ", ".join(again[:4]) + (f" ... {len(again)} in all" if len(again) > 4 else "")
        notes.append(f"names that stand twice are read as {listed}")
    return tuple(found)


def _shown(fields: Sequence[str]) -> str:
    text = " ".join(field.strip() for field in fields if field.strip())
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


# --- the decimal mark --------------------------------------------------------------------------------------------


def decimal_comma(separator: str) -> str:
    """The pattern, in lines, of a field whose comma can be nothing but a decimal mark."""
    quote = '"' if separator == "," else '"?'
    start, end = (f"(?:^|{re.escape(separator)})[ ]*{quote}", f"{quote}[ \\r\\n]*(?:$|{re.escape(separator)})")
    return f"{start}{_CLEAR_COMMA.pattern}{end}"


def find_decimal(rows: Sequence[Sequence[str]]) -> str | None:
    """The decimal mark of a table, "." or ","; None where no number shows it.

    ``12,345`` shows nothing: its comma may part thousands. A column shows a mark where most of its values do.

    >>> find_decimal([["1,5"], ["12,345"]]), find_decimal([["12,345"]]), find_decimal([["1.5"]])
    (',', None, '.')
    """
    commas = points = 0
    for column in zip(*rows, strict=False):
        if not any("," in text or "." in text for text in column):
            continue  # whole numbers show no mark
        known = _amounts(column)
        numbers = [text for text in known if is_number(text)]
        if len(numbers) <= len(known) / 2:
            continue
        comma, point = (sum(bool(clear.fullmatch(text)) for text in numbers) for clear in (_CLEAR_COMMA, _CLEAR_POINT))
        commas += comma > point
        points += point > comma
    return None if commas == points == 0 else "," if commas > points else "."


_PARTED = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")
_BELOW_1000 = re.compile(r"[-+]?\d{1,3}")
_MOST_OFTEN = 3  # so many amounts with a point show what it stands for; a number of digits is chance in one or two
_ROWS_THAT_TELL = 5  # fewer numbers with three digits behind the point are chance


def _amounts(column: Iterable[str]) -> list[str]:
    """The fields of a column that have a value, without a currency or a percent sign."""
    return [text for each in column if not is_missing(text := each.strip().strip("$€£¥% "))]


def points_part_thousands(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the points of a table in which no number shows its decimal mark can only part thousands.

    They do where a column has whole numbers below 1000 and otherwise points before exactly three digits: decimals
    would be 1.5 now and then.

    >>> points_part_thousands([["950"], ["1.200"], ["2.086"], ["3.100"]])
    True
    >>> points_part_thousands([["1.200"], ["2.086"], ["3.100"], ["4.000"]])
    False
    """
    for column in zip(*rows, strict=False):
        known = _amounts(column)
        numbers = [text for text in known if is_number(text)]
        parted, below = (sum(bool(each.fullmatch(text)) for text in numbers) for each in (_PARTED, _BELOW_1000))
        mostly = parted + below == len(numbers) > len(known) / 2  # a name above them is no number
        if mostly and below and parted >= _MOST_OFTEN:
            return True
    return False


def columns_with_an_open_point(rows: Sequence[Sequence[str]]) -> dict[int, str]:
    """Position -> first number, of the columns all of whose numbers are as 1.500, which may be 1.5 or 1500.

    >>> columns_with_an_open_point([["1.500", "1.5"], ["2.250", "1.500"], *[["3.900", "7.250"]] * 3])
    {0: '1.500'}
    """
    found = {}
    for position, column in enumerate(zip(*rows, strict=False)):
        known = _amounts(column) if any("." in field for field in column) else []
        if len(known) >= _ROWS_THAT_TELL and all(open_mark([text], ".") for text in known):
            found[position] = known[0]
    return found
