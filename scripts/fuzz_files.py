"""Malformed files for ``fuzz``: a whole file of each format that is read, damaged at a place that a number draws.

Bits turned, an end or a part that is missing, twice there, zero or of another place, bytes of another format under this
name; of formats that are text, another value in place of one; of models and checkpoints, a header of another form whose
checksum is right. An error must begin with the file's name. What was taken need not be refused, but a model or a
checkpoint with any other byte must.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import re
import sqlite3
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import damaged_parts
import numpy as np
import pandas
from fuzz_commands import MODEL, TABLE, asked
from fuzz_trials import Trial

import mlp_xp as mx
from mlp_xp import checkpoint, data
from mlp_xp._lib import files
from mlp_xp.data.recipe import Wanted, learn, read
from mlp_xp.estimators import MLPRegressor, load
from mlp_xp.train import train

ROWS = 20


def _frame() -> Any:
    numbers = np.linspace(-1.0, 3.0, ROWS)
    days = pandas.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d")
    return pandas.DataFrame({"a": numbers.round(2), "b": ["x", "y"] * (ROWS // 2), "day": days, "y": numbers.round(1)})


def _excel(path: Path) -> None:
    _frame().to_excel(path, index=False)


def _sqlite(path: Path) -> None:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        _frame().to_sql("rows", connection, index=False)
    connection.close()


def _arff(path: Path) -> None:
    head = "@relation r\n@attribute a numeric\n@attribute b {x,y}\n@attribute y numeric\n@data\n"
    path.write_text(head + "".join(f"{row.a},{row.b},{row.y}\n" for row in _frame().itertuples()))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", _frame().to_csv(index=False))


def _packed(pack: Callable[[bytes], bytes], path: Path) -> None:
    path.write_bytes(pack(_frame().to_csv(index=False).encode()))


def _idx(path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 3, 3), dtype=np.uint8)
    labels = (np.arange(ROWS) % 2).astype(np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        body = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
        (path.parent / f"train-{name}-ubyte").write_bytes(body)
        (path.parent / f"t10k-{name}-ubyte").write_bytes(body)


def _model(path: Path) -> None:
    X: Any = np.linspace(-1.0, 1.0, 24).reshape(6, 4)
    MLPRegressor(hidden_layer_sizes=(3,), max_iter=1).fit(X, X[:, 0]).save(path)


def _state(path: Path) -> None:
    X: Any = np.linspace(-1.0, 1.0, 24).reshape(6, 4)
    y: Any = np.arange(6) % 2
    (epoch,) = train(X, y, mx.init_params((4, 3, 2)), epochs=1)
    checkpoint.save(path, epoch, {"seed": 1})


def _rows_of(path: Path) -> None:
    source = data.open_data(str(path))
    learned = learn(source, Wanted())
    read(source, learned.recipe)


def _epoch(path: Path) -> object:
    return checkpoint.load(path, mx.init_params((4, 3, 2)), {"seed": 1})


def _parquet_rows(path: Path) -> object:
    return data.ParquetRows(path)[:]


def _rows_beside(path: Path) -> None:
    _rows_of(path.parent)


def _asked(*words: str) -> Callable[[Path], object]:
    def command(path: Path) -> object:
        return asked(*(word.replace("FILE", str(path)) for word in words))

    command.__name__ = f"mlp-xp {words[0]}"
    return command


class Format(NamedTuple):
    """A format: the file's name, what writes a whole one, what reads it."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    kind: str = ""  # of a file with a checksum


FORMATS = (
    Format("a.csv", lambda path: _frame().to_csv(path, index=False), _rows_of),
    Format("a.tsv", lambda path: _frame().to_csv(path, index=False, sep="\t"), _rows_of),
    Format("a.json", lambda path: _frame().to_json(path, orient="records"), _rows_of),
    Format("a.jsonl", lambda path: _frame().to_json(path, orient="records", lines=True), _rows_of),
    Format("a.parquet", lambda path: _frame().to_parquet(path), _rows_of),
    Format("a.arrow", lambda path: _frame().to_feather(path), _rows_of),
    Format("a.xlsx", _excel, _rows_of),
    Format("a.db", _sqlite, _rows_of),
    Format("a.arff", _arff, _rows_of),
    Format("a.npy", lambda path: np.save(path, _frame()[["a", "y"]].to_numpy()), _rows_of),
    Format("a.npz", lambda path: np.savez(path, X=np.eye(ROWS), y=np.arange(ROWS) % 2), _rows_of),
    Format("a.zip", _zip, _rows_of),
    Format("a.csv.gz", partial(_packed, gzip.compress), _rows_of),
    Format("a.csv.bz2", partial(_packed, bz2.compress), _rows_of),
    Format("a.csv.xz", partial(_packed, lzma.compress), _rows_of),
    Format("train-images-idx3-ubyte", _idx, _rows_beside),
    Format("train-labels-idx1-ubyte", _idx, _rows_beside),
    Format("b.parquet", lambda path: _frame()[["a", "y"]].to_parquet(path), _parquet_rows),
    Format("a.safetensors", _model, load, "model"),
    Format("b.safetensors", _state, _epoch, "checkpoint"),
    *(
        Format("c.safetensors", lambda path: path.write_bytes(Path(MODEL).read_bytes()), _asked(*words), "model")
        for words in (("predict", "FILE", TABLE), ("evaluate", "FILE", TABLE), ("inspect", "FILE"))
    ),
    Format("a.toml", lambda path: path.write_text('hidden = [3]\nlr = 0.01\nsolver = "sgd"\nearly-stopping = true\n'),
           _asked("train", TABLE, "--max-iter", "2", "--dry-run", "--config", "FILE")),
)  # fmt: skip

_PART = ("turn bits", "cut the end", "lose a part", "repeat a part", "zero a part", "exchange parts", "add bytes",
         "another format", "nothing", "another value", "another value", "another value")  # fmt: skip
_VALUES = (
    "",
    "null",
    "true",
    "-1",
    "1e999",
    "nan",
    '"x"',
    "[]",
    "{}",
    "\x00",
    "é",
    "9" * 400,
    "٣",
    ",",
    "\n",
    "'",
    "1e308",
)


def damaged(whole: bytes, how: str, draw: random.Random, others: list[bytes]) -> bytes:
    """The bytes of a file, damaged."""
    low, high = sorted(draw.randrange(len(whole) + 1) for _ in range(2))
    match how:
        case "turn bits":
            made = bytearray(whole)
            for _ in range(draw.choice((1, 1, 1, 8))):
                made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
            return bytes(made)
        case "cut the end":
            return whole[:low]
        case "lose a part":
            return whole[:low] + whole[high:]
        case "repeat a part":
            return whole[:high] + whole[low:]
        case "zero a part":
            return whole[:low] + bytes(high - low) + whole[high:]
        case "exchange parts":
            return whole[high:] + whole[low:high] + whole[:low]
        case "add bytes":
            return whole + draw.randbytes(draw.choice((1, 8, 1000)))
        case "another format":
            return draw.choice(others)
        case "nothing":
            return b""
    tokens = [found.span() for found in re.finditer(rb"[\w.\-]+", whole)]
    low, high = draw.choice(tokens) if tokens else (0, 0)
    return whole[:low] + draw.choice(_VALUES).encode() + whole[high:]


def another_header(path: Path, kind: str, draw: random.Random) -> str:
    """Write a file whose header has one part of another form, and a right checksum; what was changed."""
    arrays, header = files.read(path, kind)
    place = draw.choice([*damaged_parts.places(header)])
    other = draw.choice(damaged_parts.OTHERS)
    files.write(path, kind, arrays, damaged_parts.changed(header, place, other))
    return f"{place} = {'gone' if other is damaged_parts.GONE else repr(other)}"


def trial(folder: Path, kind: Format, start: int, others: list[bytes]) -> Trial:
    """A file of a format, damaged as a number draws it, and what reads it."""
    draw, path = random.Random(start), folder / kind.name
    kind.write(path)
    whole = path.read_bytes()
    how = draw.choice(_PART)
    if kind.kind and how == "another value":
        how = another_header(path, kind.kind, draw)
    else:
        path.write_bytes(damaged(whole, how, draw, others))
    refused = bool(kind.kind) and how in _PART[:7] and path.read_bytes() != whole  # as the checksum says
    named = (path, path.parent, *([TABLE] if kind.name == "c.safetensors" else ()))
    words = "|".join(re.escape(str(each)) for each in named) + (r"|--\w" if path.suffix == ".toml" else "")
    place = f"{kind.name} by {getattr(kind.read, '__name__', '')}"
    return Trial(place, f"number {start}: {how}", partial(kind.read, path), words, refused)


def whole_files(folder: Path) -> list[bytes]:
    """The bytes of a whole file of each format."""
    made = []
    for kind in FORMATS:
        kind.write(folder / kind.name)
        made.append((folder / kind.name).read_bytes())
    return made
