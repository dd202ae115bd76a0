"""Text tables, read a batch at a time: every column is text, exactly as it stands in the file.

``dialect`` looks at the first lines; the encoding, and a decimal mark that these do not show, are looked for in the
whole file. Arrow reads the rows, except where fields are parted by blanks and some are quoted, or a quote follows a
blank: there ``csv`` of the standard library does, five times slower.

Before: ``files`` finds the file. Next: ``columns`` decides what each column holds.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple, TextIO

from mlp_xp._lib.arguments import did_you_mean
from mlp_xp.data import dialect
from mlp_xp.data.dialect import Layout
from mlp_xp.data.files import Found
from mlp_xp.data.source import BY_LOOKING, Reading, Source, table
from mlp_xp.data.values import open_mark

_MOST_COLUMNS = 100_000
_HEAD = 2**20  # characters that are looked at
_LONGEST_LINE = 2**26
_BLOCK, _SMALL_BLOCK = (
    2**24,
    2**22,
)  # bytes that Arrow parses at a time; a row must fit, and texts take ten times as much
_FIELDS = 2**20  # that csv parses at a time
_NAMED = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'", " ": "blanks"}


class _File(NamedTuple):
    """A text file, and how it is read.

    spaced: whether ``csv`` must read it, since blanks count for nothing.
    empty: whether it has no rows.
    """

    found: Found
    encoding: str
    separator: str
    layout: Layout
    spaced: bool
    empty: bool


def open_text(
    found: Found, reading: Reading, usual: Reading = BY_LOOKING, names: Sequence[tuple[str, ...]] = ()
) -> Source:
    """The table in a text file, read as ``reading`` says; what that leaves open is found by looking.

    ``usual`` says whether there is a header and what is missing where ``reading`` does not, and the decimal mark where
    no number shows it; a file with other separators must show its own where that makes a difference. As many columns as
    there are in one of ``names`` are called so where no line names them.

    Raises:
        ValueError: when it is no text, or no table.
    """
    _check(reading)
    reading = reading.over(Reading(header=usual.header, missing=usual.missing))
    encoding = reading.encoding or find_encoding(found)
    lines, whole = _head(found, encoding)
    _refuse(found, lines[0], reading.separator or dialect.CANDIDATES)
    separator = reading.separator or dialect.find_separator(lines[dialect.comments_in(lines) :])
    try:
        layout = dialect.lay_out(found.where, lines, separator, reading.header, names)
    except csv.Error as error:
        raise ValueError(f"{found.where} can't be read as a table: {error}; a quote may be open") from None
    spaced = _is_quoted(found) if separator == " " else any(f'{separator} "' in line for line in lines)
    empty = whole and not any(line.strip() for line in lines[layout.skip :])
    file = _File(found, encoding, separator, layout, spaced, empty)
    found_mark = reading.decimal or _decimal(file, usual)
    decimal = found_mark or "."
    if reading.decimal is None and usual.decimal == decimal and (separator != usual.separator or layout.width == 1):
        _refuse_open_mark(file, decimal)
    source = table(found.title, found.where, layout.names, lambda rows: _frames(file, rows))
    resolved = Reading(separator, decimal, encoding, layout.header, reading.missing)
    notes = (*_notes(file, decimal, reading), *(() if found_mark else _open_points(file)))
    return source._replace(reading=resolved, notes=notes)


def _check(reading: Reading) -> None:
    """Raise unless what the user says can be."""
    if reading.separator is not None and (len(reading.separator) != 1 or not reading.separator.isascii()):
        raise ValueError(f"--sep must be one character, such as ';', or tab, got {reading.separator!r}")
    if reading.separator is not None and reading.separator in '"\r\n':
        raise ValueError(f"--sep must be no quote and no end of a line, got {reading.separator!r}")
    if reading.decimal not in (None, ".", ","):
        raise ValueError(f"--decimal must be '.' or ',', got {reading.decimal!r}")
    if reading.decimal is not None and reading.decimal == reading.separator == ".":
        raise ValueError("--sep and --decimal must differ, got '.' for both")
    for each in reading.missing:
        if any("\ud800" <= letter <= "\udfff" for letter in each):  # bytes of a command line that are no text
            raise ValueError(f"--na must be text, got {each!r}")
    if reading.encoding is not None:
        try:
            text = codecs.lookup(reading.encoding)._is_text_encoding
        except (LookupError, ValueError):  # the latter for what can be no name
            text = False
        if not text:
            known = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1250", "cp1251", "shift_jis", "gb18030", "big5")
            near = did_you_mean(reading.encoding, known)
            raise ValueError(f"--encoding must name an encoding such as utf-8, got {reading.encoding!r}{near}")


def _notes(file: _File, decimal: str, reading: Reading) -> tuple[str, ...]:
    """A sentence about how the text is read, where that is not plain, and those of the layout."""
    plain = "\t" if file.found.suffix in (".tsv", ".tab") else ","
    marks = []
    if reading.separator is None and file.separator != plain and file.layout.width > 1:
        marks.append(f"{_NAMED[file.separator]} between fields")
    if reading.decimal is None and decimal != ".":
        marks.append(f"{decimal!r} as decimal mark")
    foreign = reading.encoding is None and file.encoding not in ("utf-8", "utf-8-sig")
    said = " ".join(
        filter(None, (f"as {file.encoding}," if foreign else "", f"with {' and '.join(marks)}" if marks else ""))
    )
    return (*((f"read {said.rstrip(',')}",) if said else ()), *file.layout.notes)


# --- bytes to text -----------------------------------------------------------------------------------------------


_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def find_encoding(found: Found) -> str:
    """The encoding of a text file: by its first bytes, else UTF-8 if all of it is, else latin-1 or cp1252.

    Raises:
        ValueError: when it is none of these.
    """
    with found.open() as file:
        start = file.read(1000)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) < len(start) / 4 or min(even, odd) > max(even, odd) / 4:
            raise ValueError(f"{found.where} must be text, got other bytes; --encoding names that of a text")
        return "utf-16-le" if odd > even else "utf-16-be"
    broken = _first_break(found, "utf-8")
    if broken is None:
        return "utf-8"
    if broken.beyond_ascii:  # so it is damaged rather than of another encoding
        expected = "must be UTF-8, as the lines before it are"
        raise ValueError(f"{found.where}: line {broken.line} {expected}; --encoding names another")
    with found.open() as file:
        found_controls = {code for block in _blocks(file) for code in _CONTROLS if bytes((code,)) in block}
    if found_controls & _NOT_CP1252:
        raise ValueError(f"{found.where}: line {broken.line} must be UTF-8 or cp1252; --encoding names another")
    return "cp1252" if found_controls else "latin-1"


_CONTROLS = frozenset(range(0x80, 0xA0))  # letters and signs in cp1252, controls in latin-1
_NOT_CP1252 = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))


class _Break(NamedTuple):
    """Where a file is not of an encoding: the line, and whether what stands before is more than ASCII."""

    line: int
    beyond_ascii: bool


def _first_break(found: Found, encoding: str) -> _Break | None:
    decoder, lines, beyond = codecs.getincrementaldecoder(encoding)(), 1, False
    with found.open() as file:
        for block in chain(_blocks(file), [b""]):
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                good = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
                return _Break(lines + good.count(b"\n"), beyond or not good.isascii())
            lines += text.count("\n")
            beyond = beyond or not text.isascii()
    return None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(2**20):
        yield block


@contextmanager
def _lines(found: Found, encoding: str) -> Iterator[TextIO]:
    """The file as text; its lines keep their ends."""
    with found.open() as file:
        start = file.read(3)
    with found.open() as file:
        if start == codecs.BOM_UTF8:
            file.read(3)
        with io.TextIOWrapper(file, encoding, newline="") as text:
            yield text


def _head(found: Found, encoding: str) -> tuple[list[str], bool]:
    """The first lines, and whether they are all."""
    try:
        with _lines(found, encoding) as file:
            text = file.read(_HEAD)
            text += file.readline(_LONGEST_LINE)
            whole = not file.read(1)
    except UnicodeError:
        raise _wrong_encoding(found, encoding) from None
    lines = list(io.StringIO(text, newline=""))
    if not any(line.strip() for line in lines):
        raise ValueError(f"{found.where} must hold a table, got nothing but empty lines")
    return lines, whole


def _wrong_encoding(found: Found, encoding: str) -> ValueError:
    broken = _first_break(found, encoding)
    line = f": line {broken.line}" if broken else ""
    return ValueError(f"{found.where}{line} must be {encoding}, got other bytes; --encoding names another")


def _refuse(found: Found, line: str, separators: str) -> None:
    """Raise for a web page, and for too many columns."""
    if line.lstrip().lower().startswith(("<!doctype html", "<html")):
        raise ValueError(f"{found.where} must hold a table, got a web page")
    columns = max(map(line.count, separators)) + 1
    if columns > _MOST_COLUMNS:
        raise ValueError(f"{found.where} must have at most {_MOST_COLUMNS:,} columns, got {columns:,}")


# --- rows --------------------------------------------------------------------------------------------------------


def _frames(file: _File, rows: int) -> Iterator[Any]:
    """Data frames of at most so many rows, all text."""
    if not file.empty:
        yield from _frames_by_csv(file, rows) if file.spaced else _frames_by_arrow(file, rows)


def _frames_by_arrow(file: _File, rows: int) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow

    names = list(map(str, range(file.layout.width)))
    chosen = [names[position] for position in file.layout.chosen]
    with _lines(file.found, file.encoding) as text:
        longest = max((len(line) for line in islice(text, dialect.ROWS_LOOKED_AT)), default=0)
    block = _BLOCK if 8 * longest > _SMALL_BLOCK else _SMALL_BLOCK
    reading = arrow.ReadOptions(block_size=block, skip_rows=file.layout.skip, column_names=names, use_threads=False,
                                encoding="utf-8" if file.separator == " " else file.encoding)  # fmt: skip
    ragged = lambda row: "skip" if dialect.is_empty(row.text) else "error"  # noqa: E731
    parsing = arrow.ParseOptions(delimiter=file.separator, newlines_in_values=True, invalid_row_handler=ragged)
    types = dict.fromkeys(names, pa.string())
    texts = arrow.ConvertOptions(column_types=types, include_columns=chosen, strings_can_be_null=False)
    last = ""
    try:
        with _bytes(file) as opened, arrow.open_csv(opened, reading, parsing, texts) as reader:
            for batch in reader:
                last = batch.column(batch.num_columns - 1)[-1].as_py() if batch.num_rows else last
                stripped = [pc.utf8_trim_whitespace(column) for column in batch.columns]
                whole = pa.record_batch(stripped, names=chosen)
                if file.layout.width == 1:  # no line of one column is ragged
                    whole = whole.filter(pc.not_equal(whole.column(0), "\x1a"))
                for low in range(0, whole.num_rows, rows):
                    yield whole.slice(low, rows).to_pandas().set_axis(list(file.layout.names), axis=1)
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise _explained(file, error) from None
    _check_last(file, last)


@contextmanager
def _bytes(file: _File) -> Iterator[Any]:
    """The bytes for Arrow: those of the file, but that one blank stands for several, and none at an end of a line."""
    if file.separator != " ":
        with file.found.open() as opened:
            yield opened
        return
    import pyarrow as pa

    with _lines(file.found, file.encoding) as text:
        yield pa.PythonFile(_SingleBlanks(text), mode="r")


class _SingleBlanks(io.RawIOBase):
    """A text in UTF-8 whose fields are parted by one blank each, for a reader that knows no others."""

    def __init__(self, text: TextIO) -> None:
        super().__init__()
        self._text, self._left = text, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or fewer at the end; all for -1."""
        parts, length = [self._left], len(self._left)
        while (size < 0 or length < size) and (lines := self._text.read(_HEAD)):
            lines += self._text.readline()  # a run of blanks never ends with a part
            parts.append(_with_single_blanks(lines).encode())
            length += len(parts[-1])
        whole = b"".join(parts)
        self._left = whole[size:] if size >= 0 else b""
        return whole[:size] if size >= 0 else whole


def _with_single_blanks(lines: str) -> str:
    r"""Whole lines, with one blank for several, and none at the ends.

    >>> _with_single_blanks("  1  2\n   3 4 \t\r\n\n5    6 ")
    '1 2\n3 4\r\n\n5 6'
    """
    if "\t" in lines:
        lines = re.sub("[ \t]+(?=[\r\n]|$)", "", lines)
    while "  " in lines:
        lines = lines.replace("  ", " ")
    for at_end, end in ((" \n", "\n"), (" \r", "\r"), ("\n ", "\n"), ("\r ", "\r")):
        lines = lines.replace(at_end, end)
    return lines.strip(" \t")


def _is_quoted(found: Found) -> bool:
    """Whether there may be a quoted field."""
    with found.open() as file:
        return any(b'"' in block for block in _blocks(file))


def _frames_by_csv(file: _File, rows: int) -> Iterator[Any]:
    import pandas as pd

    layout, last = file.layout, ""
    step = max(min(rows, _FIELDS // layout.width), 1)
    try:
        with _lines(file.found, file.encoding) as lines:
            found = (row for row in dialect.split(lines, file.separator) if row.line > layout.skip)
            while part := list(islice(found, step)):
                wrong = next((row for row in part if len(row.fields) != layout.width), None)
                if wrong is not None:
                    raise _ragged(file, wrong)
                last = part[-1].fields[layout.chosen[-1]]
                texts = [[row.fields[position].strip() for position in layout.chosen] for row in part]
                yield pd.DataFrame(texts, columns=list(layout.names), dtype="str")
    except (csv.Error, UnicodeError) as error:
        raise _explained(file, error) from None
    _check_last(file, last)


def _explained(file: _File, error: Exception) -> ValueError:
    """One sentence about what neither Arrow nor ``csv`` can read."""
    if _first_break(file.found, file.encoding):
        return _wrong_encoding(file.found, file.encoding)
    line = 0
    try:
        with _lines(file.found, file.encoding) as lines:
            for row in dialect.split(lines, file.separator):
                if row.line > file.layout.skip and len(row.fields) != file.layout.width:
                    return _ragged(file, row)
                line = row.line
    except csv.Error:
        pass
    where = file.found.where
    return ValueError(f"{where}: the row at line {line + 1} is longer than any row of a table; a quote may be open")


def _ragged(file: _File, row: dialect.Row) -> ValueError:
    alike = "the header has" if file.layout.header else "the other rows have"
    fields = f"must have {file.layout.width} fields as {alike}, got {len(row.fields)}"
    parted = _NAMED.get(file.separator, repr(file.separator))
    many = len(row.fields) > file.layout.width
    first = f"a field with {parted} in it must be quoted" if many else "a line that is no row of the table must go"
    cure = f"{first}, --sep names another separator than {parted}"
    return ValueError(f"{file.found.where}: line {row.first} {fields}; {cure}")


def _check_last(file: _File, last: str) -> None:
    """Raise when the last field, which holds an end of a line, is that of a quote that is never closed."""
    if "\n" not in last:
        return
    line = 0
    try:
        with _lines(file.found, file.encoding) as lines:
            rows = csv.reader(lines, delimiter=file.separator, skipinitialspace=file.spaced, strict=True)
            for _ in rows:
                line = rows.line_num
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ValueError(f"{file.found.where}: line {line + 1} opens a quote that is never closed") from None


def _refuse_open_mark(file: _File, decimal: str) -> None:
    """Raise for a number such as 13.830, a thousand times as large with the decimal mark of the training as without.

    Nothing is said where a number of the file shows the mark.
    """
    mark, rows = "." if decimal == "," else ",", _first_rows(file)
    texts = (field.strip() for row in rows for field in row)
    if dialect.find_decimal(rows) is None and (found := open_mark(texts, mark)):
        number, _, rest = found.partition(mark)
        may_be = f"{found!r} may be {number}{rest} or {float(f'{number}.{rest}'):g}"
        raise ValueError(f"{file.found.where} must show its decimal mark, {may_be}; --decimal , or --decimal . says it")


def _open_points(file: _File) -> tuple[str, ...]:
    """A sentence about the columns whose numbers may be a thousand times as large as they are read."""
    found = dialect.columns_with_an_open_point(_first_rows(file))
    named = [name for name, place in zip(file.layout.names, file.layout.chosen, strict=True) if place in found]
    if not named:
        return ()
    text = next(each for place, each in found.items() if place in file.layout.chosen)
    small, large = f"{float(text):g}", text.replace(".", "")
    others = f" and {len(named) - 1} more" if len(named) > 1 else ""
    where = f"in column {named[0]!r}{others}"
    return (f"{text!r} {where} may be {small} or {large}, and is read as {small}; --decimal , reads it as {large}",)


def _first_rows(file: _File) -> list[list[str]]:
    """The fields of the first rows below the header; none where ``csv`` can't read them."""
    with _lines(file.found, file.encoding) as text, suppress(csv.Error, UnicodeError):  # said where rows are read
        rows = dialect.split(islice(text, file.layout.skip, file.layout.skip + dialect.ROWS_LOOKED_AT), file.separator)
        return [row.fields for row in rows]
    return []


def _decimal(file: _File, usual: Reading) -> str | None:
    """The decimal mark that the first numbers show which show one, else the usual one; None where nothing tells."""
    hint = re.compile(dialect.decimal_comma(file.separator), re.MULTILINE)
    try:
        with _lines(file.found, file.encoding) as text:
            for _ in islice(text, file.layout.skip):
                pass
            lines = text.readlines(2**20)
            rows = dialect.split(lines, file.separator)
            first = [row.fields for row in islice(rows, dialect.ROWS_LOOKED_AT)]
            mark = dialect.find_decimal(first)
            while mark is None and lines:
                text_of = "".join(lines)
                if ("," if file.separator != "," else '"') in text_of and hint.search(text_of):
                    hits = filter(hint.search, lines)
                    sample = [*lines[: dialect.ROWS_LOOKED_AT], *islice(hits, dialect.ROWS_LOOKED_AT)]
                    mark = dialect.find_decimal([row.fields for row in dialect.split(sample, file.separator)])
                lines = text.readlines(2**20)
    except (csv.Error, UnicodeError):
        return usual.decimal  # what is wrong is said where the rows are read
    if mark or usual.decimal or file.separator == ",":  # between commas a comma is no decimal mark
        return mark or usual.decimal
    return "," if dialect.points_part_thousands(first) else None
