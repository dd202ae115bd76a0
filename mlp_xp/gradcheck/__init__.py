"""A gradient checker for anybody's backward pass: finite differences, verdicts, a report. It knows nothing of networks.

differences   numerical_grad: the two-sided difference, any array, many perturbations per call
noise         how much of a function's value is rounding
check         gradcheck, check_pullback: compare, and judge by what the differences can resolve
diagnosis     what a wrong gradient looks like, in words
report        what came out, as rows and as text
"""

from mlp_xp.gradcheck.check import check_pullback, gradcheck
from mlp_xp.gradcheck.differences import numerical_grad
from mlp_xp.gradcheck.report import Report, TensorReport

__all__ = ["Report", "TensorReport", "check_pullback", "gradcheck", "numerical_grad"]
