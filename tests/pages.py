"""Run the examples of a Markdown page: its Python blocks from top to bottom, and what they print.

A block marked ``output`` holds what the Python block before it prints. A block marked ``python skip`` is a quotation.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(r"^```([\w ]*)\n(.*?)^```$", re.M | re.S)
_NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def blocks(page: str, language: str) -> list[str]:
    """The blocks of one language in the page at the path ``page`` below the repository's root."""
    return [text for found, text in _BLOCK.findall((ROOT / page).read_text()) if found == language]


def run_page(page: str, names: dict[str, Any] | None = None) -> str:
    """Run the Python blocks of ``page`` in one namespace, with NumPy for CuPy, and compare what they print.

    Args:
        page: path below the repository's root, such as ``README.md``.
        names: what the examples use without defining it.

    Returns:
        All that was printed.
    """
    names, printed = {} if names is None else names, [""]
    found = [("", ""), *_BLOCK.findall((ROOT / page).read_text())]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        warnings.filterwarnings("ignore", message=".*(hasn't converged|failed to converge)")  # short examples do not
        for (before, _), (language, text) in pairwise(found):
            if language == "python":
                with redirect_stdout(io.StringIO()) as output:
                    exec(compile(text.replace("import cupy as cp", "import numpy as cp"), page, "exec"), names)
                printed.append(output.getvalue())
            elif language == "output":
                assert before == "python", f"{page}: an output block must follow its Python block:\n{text}"
                assert same_text(printed[-1], text), f"{page} says\n{text}\nbut this is printed:\n{printed[-1]}"
    return "".join(printed)


def same_text(printed: str, expected: str) -> bool:
    """Whether two texts differ in spaces and roundings alone: numbers below 1e-9 are rounding errors."""
    words = [_NUMBER.sub("#", text).split() for text in (printed, expected)]
    numbers = [[float(n.replace(",", "")) for n in _NUMBER.findall(text)] for text in (printed, expected)]
    return words[0] == words[1] and all(
        math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-9) for a, b in zip(*numbers, strict=True)
    )
