"""Pytest fixtures ``gradcheck``, ``check_pullback`` and ``check_jvp``: a wrong gradient fails the test with its report.

Wherever mlp_xp is installed, pytest finds them by the package's entry point.

    def test_my_layer(gradcheck):
        gradcheck(f, grad, (W, b), names=("W", "b"))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlp_xp.gradcheck import Report


@pytest.fixture(scope="session")
def gradcheck() -> Callable[..., Report]:
    """``mlp_xp.gradcheck``, which fails the test unless every gradient passes.

    Returns:
        A function with the arguments of ``mlp_xp.gradcheck``, and ``allow_inconclusive=True`` to accept a gradient
        that rounding or a kink hides. It returns the report.

    Raises:
        pytest.fail.Exception: when that function is called on a wrong gradient; the message is the report.

    >>> import numpy as np
    >>> def test_cube(gradcheck):
    ...     gradcheck(lambda x: np.sum(x**3), lambda x: (3 * x**2,), (np.asarray([0.5, -1.0]),))
    """
    from mlp_xp.gradcheck import gradcheck

    return _failing(gradcheck)


@pytest.fixture(scope="session")
def check_pullback() -> Callable[..., Report]:
    """``mlp_xp.check_pullback``, which fails the test unless every cotangent passes.

    Returns:
        A function with the arguments of ``mlp_xp.check_pullback``, and ``allow_inconclusive`` as in ``gradcheck``. It
        returns the report.

    Raises:
        pytest.fail.Exception: when that function is called on a wrong pullback; the message is the report.

    >>> import numpy as np
    >>> def test_cubes(check_pullback):
    ...     check_pullback(lambda x: (x**3, lambda c: (3 * x**2 * c,)), (np.asarray([0.5, -1.0]),))
    """
    from mlp_xp.gradcheck import check_pullback

    return _failing(check_pullback)


@pytest.fixture(scope="session")
def check_jvp() -> Callable[..., Report]:
    """``mlp_xp.check_jvp``, which fails the test unless the forward rule passes along every tangent.

    Returns:
        A function with the arguments of ``mlp_xp.check_jvp``, and ``allow_inconclusive`` as in ``gradcheck``. It
        returns the report.

    Raises:
        pytest.fail.Exception: when that function is called on a wrong forward rule; the message is the report.

    >>> import numpy as np
    >>> def test_sine(check_jvp):
    ...     check_jvp(np.sin, lambda x, v: np.cos(x[0]) * v[0], (np.asarray([0.5, -1.0]),))
    """
    from mlp_xp.gradcheck import check_jvp

    return _failing(check_jvp)


def _failing(check: Callable[..., Report]) -> Callable[..., Report]:
    """``check``, which fails the test with its report."""

    def checked(*args: Any, allow_inconclusive: bool = False, **options: Any) -> Report:
        __tracebackhide__ = True
        report = check(*args, **options)
        if report.verdict == "fail" or (report.verdict == "inconclusive" and not allow_inconclusive):
            pytest.fail(str(report), pytrace=False)
        return report

    return checked
