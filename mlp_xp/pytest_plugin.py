"""Pytest fixtures ``gradcheck`` and ``check_pullback``: a gradient that is wrong fails the test, with the report.

Pytest finds them by the package's entry point, wherever mlp_xp is installed.

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
    """``mlp_xp.gradcheck``, which fails the test unless it passes.

    ``allow_inconclusive=True`` lets a gradient go on which nothing can be said; the report is returned.
    """
    import mlp_xp

    return _failing(mlp_xp.gradcheck)


@pytest.fixture(scope="session")
def check_pullback() -> Callable[..., Report]:
    """``mlp_xp.check_pullback``, which fails the test unless it passes, as ``gradcheck`` does."""
    import mlp_xp

    return _failing(mlp_xp.check_pullback)


def _failing(check: Callable[..., Report]) -> Callable[..., Report]:
    def checked(*args: Any, allow_inconclusive: bool = False, **options: Any) -> Report:
        __tracebackhide__ = True
        report = check(*args, **options)
        if report.verdict == "fail" or (report.verdict == "inconclusive" and not allow_inconclusive):
            pytest.fail(str(report), pytrace=False)
        return report

    return checked
