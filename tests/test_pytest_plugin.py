"""The fixtures ``gradcheck``, ``check_pullback`` and ``check_jvp`` as somebody's own test suite uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlp_xp

pytestmark = pytest.mark.only("numpy")

# by name and not by its entry point: the package that these tests import need not be installed
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mlp_xp.__file__).parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
PYTEST = (sys.executable, "-m", "pytest", "-p", "mlp_xp.pytest_plugin", "-p", "no:cacheprovider", "-q", "-W", "error")

SUITE = """
import numpy as np

x = np.asarray([0.3, -0.7, 1.1])

def f(x):
    return (x**3).sum()

def flat(x):
    return float(1e-30 * f(x) + 1e6)

def right(x):
    return 3.0 * x**2

def cube(factor):
    return lambda x: (x**3, lambda c: (factor * 3.0 * x**2 * c,))

def rule(factor):
    return lambda args, tangents: factor * 3.0 * args[0]**2 * tangents[0]

"""


def outcome(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """A suite with this one test, run by a process of its own."""
    (folder / "test_theirs.py").write_text(SUITE + test)
    return subprocess.run(PYTEST, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "test",
    [
        "def test_it(gradcheck):\n    assert gradcheck(f, right, x, names=('x',), mode='full').tensors[0].checked",
        "def test_it(check_pullback):\n    assert check_pullback(cube(1.0), (x,)).ok",
        "def test_it(check_jvp):\n    assert check_jvp(lambda x: x**3, rule(1.0), (x,), names=('x',)).ok",
        "def test_it(gradcheck):\n"
        "    report = gradcheck(flat, lambda x: 1e-30 * right(x), x, allow_inconclusive=True)\n"
        "    assert report.verdict == 'inconclusive'",
    ],
    ids=["gradcheck", "check_pullback", "check_jvp", "inconclusive, allowed"],
)
def test_a_right_gradient_passes_and_the_report_comes_back(test: str, tmp_path: Path) -> None:
    ended = outcome(tmp_path, test)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "1 passed" in ended.stdout


@pytest.mark.parametrize(
    ("test", "head", "sentence"),
    [
        ("gradcheck(f, lambda x: 2.0 * right(x), x, names=('x',))", "fail", "x: the gradient is 2 times the true one"),
        ("gradcheck(f, lambda x: -right(x), x, allow_inconclusive=True)", "fail", "the sign is wrong"),
        ("gradcheck(flat, lambda x: 1e-30 * right(x), x)", "inconclusive", "f did not change"),
        ("check_pullback(cube(2.0), (x,), names=('x',))", "fail", "x: the gradient is 2 times the true one"),
        ("check_jvp(lambda x: x**3, rule(2.0), (x,), names=('x',))", "fail", "x: the gradient is 2 times the true one"),
        ("check_jvp(lambda x: x**3, rule(-1.0), (x,), allow_inconclusive=True)", "fail", "the sign is wrong"),
    ],
)
def test_a_wrong_gradient_fails_with_the_report_and_no_traceback(
    test: str, head: str, sentence: str, tmp_path: Path
) -> None:
    ended = outcome(tmp_path, f"def test_it({test.partition('(')[0]}):\n    {test}\n")
    assert ended.returncode == 1
    assert f"gradient check: {head} (" in ended.stdout
    assert sentence in ended.stdout
    assert "1 failed" in ended.stdout
    assert "test_theirs.py:7" not in ended.stdout  # where pytest would show lines of code


def test_an_error_in_their_own_code_is_shown_as_ever(tmp_path: Path) -> None:
    ended = outcome(tmp_path, "def test_it(gradcheck):\n    gradcheck(lambda x: 1 / 0, right, x)")
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stdout
    assert "test_theirs.py:" in ended.stdout
