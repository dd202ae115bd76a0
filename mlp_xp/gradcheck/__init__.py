"""A gradient checker for anybody's backward pass: finite differences, verdicts, a report. It knows nothing of networks.

Read it in this order:

    differences   numerical_grad: the two-sided difference, any array, many perturbations per call
    sizes         how large an array is, at any magnitude
    noise         how much of a function's value is rounding
    directional   the slope along a direction, from a handful of values, with its uncertainty
    derivatives   the derivatives of the array API's functions, in tables
    dual          numbers with a tangent: a function's exact slope, by those tables
    problem       a function at a point: in what arithmetic it computes, its noise, its slopes
    probes        a gradient against those slopes, with what may lie between the two
    entries       single entries against differences
    locate        which entries of a wrong tensor to look at
    tree          nested containers of arrays as a flat list, and back
    adapters      the usual forms in which people hold a function and its backward pass
    contract      what a gradient function owes besides the right numbers
    check         gradcheck: the order of the questions
    products      check_pullback and check_hvp, by the same questions
    verdict       what probes and entries of an array come to
    diagnosis     what a wrong gradient looks like, in words
    weak          points at which a mistake could hide
    report        what came out, as rows, text, table and JSON
"""

from mlp_xp.gradcheck.check import gradcheck
from mlp_xp.gradcheck.entries import numerical_grad
from mlp_xp.gradcheck.products import check_hvp, check_pullback
from mlp_xp.gradcheck.report import Report, TensorReport

__all__ = ["Report", "TensorReport", "check_hvp", "check_pullback", "gradcheck", "numerical_grad"]
