"""Functions with a domain, warnings as errors, threads: what the checker tries is its own affair."""

from __future__ import annotations

import math
import threading
import warnings

import numpy as np
import pytest

import mlp_xp as mx

pytestmark = pytest.mark.only("numpy")  # math.log, warnings and threads are not a library's


def checked(x):
    """``sum sqrt(x)``, which insists on its domain."""
    if np.any(np.real(x) < 0.0):
        raise ValueError("x must not be negative")
    return float(np.sum(np.sqrt(np.asarray(x, dtype=float))))


def logarithms(x):
    return sum(math.log(float(entry)) for entry in x)


def arcsines(x):
    return sum(math.asin(float(entry)) for entry in x)


def cholesky(A):
    return np.sum(np.log(np.diagonal(np.linalg.cholesky(np.asarray(A, dtype=float)))))


def cholesky_gradient(A):
    """Of log det / 2 by the lower triangle, which alone LAPACK reads."""
    np.linalg.cholesky(A)  # raises outside the domain, too
    G = np.linalg.inv(np.tril(A) + np.tril(A, -1).T)
    return np.tril(G, -1) + 0.5 * np.diag(np.diagonal(G))


CORNER = np.asarray([[1.0, 0.0], [0.9999, 1.0]])
DOMAINS = {
    "math.log": (logarithms, lambda x: 1.0 / x, np.asarray([0.01, 0.5, 2.0, 1e-3])),
    "an input check": (checked, lambda x: 0.5 / np.sqrt(x), np.asarray([1e-3, 0.5, 2.0])),
    "math.asin": (arcsines, lambda x: 1.0 / np.sqrt(1.0 - x * x), np.asarray([0.99, -0.999, 0.2])),
    "a factorisation": (cholesky, cholesky_gradient, CORNER),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_a_point_outside_the_domain_is_skipped(name):
    f, gradient, x = DOMAINS[name]
    for seed in range(5):
        mx.gradcheck(f, lambda x: (gradient(x),), (x,), seed=seed).raise_if_failed()
        for factor in (1.001, -1.0):
            assert mx.gradcheck(f, lambda x: (factor * gradient(x),), (x,), seed=seed).verdict == "fail"  # noqa: B023


def test_the_report_says_that_points_were_skipped_and_why():
    f, gradient, x = DOMAINS["math.log"]
    report = mx.gradcheck(f, lambda x: (gradient(x),), (x,))
    (note,) = report.notes
    assert note.startswith("f or grad raised at ")
    assert note.endswith(": ValueError: math domain error")
    assert f"note: {note}" in str(report)
    assert mx.gradcheck(lambda x: np.sum(x * x), lambda x: (2.0 * x,), (x,)).notes == ()


@pytest.mark.parametrize("where", ["f", "grad"])
def test_an_exception_at_params_is_the_callers(where):
    def fails(x):
        raise ZeroDivisionError("at params")

    functions = {"f": lambda x: np.sum(x), "grad": lambda x: (np.ones_like(x),)} | {where: fails}
    with pytest.raises(ZeroDivisionError, match="at params"):
        mx.gradcheck(functions["f"], functions["grad"], (np.ones(3),))


@pytest.mark.parametrize("name", ["np.log", "np.sqrt", "np.arctanh", "division"])
def test_warnings_as_errors_make_no_difference(name):
    f, gradient = {
        "np.log": (np.log, lambda x: 1.0 / x),
        "np.sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
        "np.arctanh": (np.arctanh, lambda x: 1.0 / (1.0 - x * x)),
        "division": (lambda x: 1.0 / x, lambda x: -1.0 / x**2),
    }[name]
    x = np.asarray([1e-3, 0.5, 0.9])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mx.gradcheck(lambda x: np.sum(f(x)), lambda x: (gradient(x),), (x,)).raise_if_failed()
        assert mx.gradcheck(lambda x: np.sum(f(x)), lambda x: (1.01 * gradient(x),), (x,)).verdict == "fail"


def test_checks_in_threads_leave_the_filters_of_warnings_as_they_were():
    before, verdicts = list(warnings.filters), []

    def work(seed):
        x = np.random.default_rng(seed).standard_normal(5)
        for f in (lambda x: np.sum(np.sin(x)), lambda x: np.sum(np.sin(np.asarray(x, dtype=float)))):
            verdicts.append(mx.gradcheck(f, lambda x: (np.cos(x),), (x,), seed=seed).verdict)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == ["pass"] * 16
    assert warnings.filters == before


def test_a_check_never_enters_a_context_of_warnings(monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("the filters of warnings belong to the whole process")

    monkeypatch.setattr(warnings, "catch_warnings", forbidden)
    monkeypatch.setattr(warnings, "simplefilter", forbidden)
    for f in (lambda x: np.sum(x**3), logarithms, checked):
        x = np.asarray([0.5, 1.5, 2.0])
        mx.gradcheck(f, lambda x: (x,), (x,), mode="full")


def test_an_imaginary_part_that_is_dropped_is_recognised_without_the_warning():
    """NumPy drops it with a warning alone; the circle and the difference tell."""
    x = np.asarray([0.5, -1.5, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for drop in (lambda x: np.asarray(x).astype(float), lambda x: np.asarray(x, dtype=float), np.real):
            report = mx.gradcheck(lambda x: np.sum(drop(x) ** 3) + 0.0, lambda x: (3.0 * x**2,), (x,))  # noqa: B023
            report.raise_if_failed()
            assert report.reference == "float64"
