"""A gradient checker for anybody's backward pass: measured slopes, verdicts, a report. It knows nothing of networks.

``README.md`` beside this file shows how to use it. To follow a check, read in this order:

    check        gradcheck: the steps of a check, from the caller's functions to the report
    forms        functions and containers as people hold them, turned into functions of a flat tuple of arrays
    contract     what a gradient function owes besides the right numbers
    local        a function at a point: its arithmetic, its noise, its slope along any direction
    evidence     what is measured of a gradient: probes along directions, as numbers
    kinks        the gradient at kinks, beside the slopes on their two sides
    judge        from these numbers to a verdict and its reason: every verdict is decided there
    elsewhere    more directions and other points, where the judge is in doubt
    entries      numerical_grad, and single entries against differences
    explain      a wrong gradient in words, by
    patterns     what mistakes do to numbers, and
    factors      the names of the numbers by which gradients are off
    blind_spots  properties of a point behind which a mistake could hide
    report       what was found, as rows, text, table and JSON
    products     check_pullback, check_jvp and check_hvp, by the same steps

Below them stand the mathematics:

    slopes       the slope of a function of one number and the noise of its values, by differences
    dual         numbers with a tangent: the exact slope of a function, by
    derivatives  the derivatives of the array API's functions, in tables
    arrays       sizes, copies and single entries of arrays of any library
"""

from mlp_xp.gradcheck.check import gradcheck
from mlp_xp.gradcheck.entries import numerical_grad
from mlp_xp.gradcheck.local import Derivative, directional_derivative
from mlp_xp.gradcheck.products import check_hvp, check_jvp, check_pullback
from mlp_xp.gradcheck.report import Report, TensorReport

__all__ = [
    "Derivative",
    "Report",
    "TensorReport",
    "check_hvp",
    "check_jvp",
    "check_pullback",
    "directional_derivative",
    "gradcheck",
    "numerical_grad",
]
