"""The report: one row per array with the worst entry and both its values, as a table, in colour and as JSON."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from known_functions import QUICK, cubes, cubes_gradient, square

import mlp_xp as mx

RANDOM = np.random.default_rng(3)
A, B = RANDOM.standard_normal((4, 4)), RANDOM.standard_normal((4, 4))
V = RANDOM.standard_normal(7)


def test_the_worst_entry_is_named_with_both_its_values(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    off = put([[0.0, 0.0], [0.75, 0.006]])  # three quarters of one, a thousandth of the other
    row = mx.gradcheck(square, lambda x: (2 * x + off,), [x], names=["weight"]).tensors[0]
    assert row.name == "weight"
    assert row.index == (1, 0)
    assert row.analytic == 1.75
    np.testing.assert_allclose(row.numeric, 1.0, rtol=1e-8)
    np.testing.assert_allclose(row.relative_error, 0.75 / 2.75, rtol=1e-8)
    assert (row.checked, row.size) == (4, 4)
    assert 0 < row.resolution < 1e-6


@QUICK
def test_the_textbooks_classification_is_reported(put):
    def word(factor):
        return mx.gradcheck(cubes, lambda v: (factor * cubes_gradient(v)[0],), (put(V),)).tensors[0].textbook

    assert [word(1.0), word(1.0002), word(1.1)] == ["right", "unclear", "bug"]


def test_the_report_reads_as_a_table(put):
    x = put([[1.0, -2.0], [0.5, 3.0]])
    report = mx.gradcheck(
        lambda a, b: square(a) + square(b), lambda a, b: (2 * a, -2 * b), [x, x], names=["a", "longer"]
    )
    head, columns, first, second, note = str(report).splitlines()
    assert head == f"gradient check: fail ({report.evaluations} evaluations, reference in {report.reference})"
    assert columns.split()[:2] == ["tensor", "verdict"]
    assert first.split()[:2] == ["a", "pass"]
    assert second.split()[:2] == ["longer", "fail"]
    assert first.index("pass") == second.index("fail") == columns.index("verdict")
    assert "the sign is wrong" in note
    with pytest.raises(AssertionError) as caught:
        report.raise_if_failed()
    assert str(caught.value) == str(report)


def sign_flipped(a, b):
    """The gradient of ``cubes`` with the sign of the first array wrong."""
    return -cubes_gradient(a)[0], *cubes_gradient(b)


@QUICK
def test_the_report_is_json(put):
    report = mx.gradcheck(cubes, sign_flipped, (put(A), put(B)), names=("a", "b"))
    parsed = json.loads(report.json())
    assert parsed["verdict"] == "fail"
    assert [r["name"] for r in parsed["tensors"]] == ["a", "b"]
    assert parsed["tensors"][0]["index"] == list(report.tensors[0].index)
    assert parsed["tensors"][0]["diagnosis"] == "the sign is wrong"
    wrong_shape = mx.gradcheck(cubes, lambda a: (a[0, :],), (put(A),))
    assert math.isinf(wrong_shape.tensors[0].relative_error)
    assert json.loads(wrong_shape.json())["tensors"][0]["relative_error"] is None  # JSON knows no infinity


@pytest.mark.only("numpy")  # where rich is installed
def test_the_report_is_a_rich_table_that_fits_a_terminal():
    from rich.console import Console

    report = mx.gradcheck(cubes, sign_flipped, (A, B), names=("a", "b"))
    console = Console(width=80, file=io.StringIO())
    console.print(report)
    text = console.file.getvalue()
    assert "a: the sign is wrong" in text
    assert "…" not in text
