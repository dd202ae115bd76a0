"""A gradient checker for anybody's backward pass: finite differences, verdicts, a report. It knows nothing of networks.

Read it in this order:

    differences   numerical_grad: the two-sided difference, any array, many perturbations per call
    noise         how much of a function's value is rounding
    directional   the slope along a direction, from a handful of values, with its uncertainty
    problem       a function at a point: in what arithmetic it computes, its noise, its slopes
    tree          nested containers of arrays as a flat list, and back
    contract      what a gradient function owes besides the right numbers
    check         gradcheck, check_pullback, check_hvp: compare, and judge by what can be resolved
    locate        which entries of a wrong tensor to look at
    entries       single entries against differences
    diagnosis     what a wrong gradient looks like, in words
    report        what came out, as rows and as text
"""

from mlp_xp.gradcheck.check import check_hvp, check_pullback, gradcheck
from mlp_xp.gradcheck.differences import numerical_grad
from mlp_xp.gradcheck.report import Report, TensorReport

__all__ = ["Report", "TensorReport", "check_hvp", "check_pullback", "gradcheck", "numerical_grad"]
