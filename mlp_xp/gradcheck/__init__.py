"""A gradient checker for anybody's backward pass: measured slopes, verdicts, a report. It knows nothing of networks.

``README.md`` beside this file shows how to use it. To follow a check, read in this order:

    check        gradcheck: the steps of a check, from the caller's functions to the report
    forms        functions and containers as people hold them, turned into functions of a flat tuple of arrays
    contract     what a gradient function owes besides the right numbers
    local        a function at a point: its arithmetic, its noise, its slope along any direction
    evidence     a gradient against those slopes, and what may lie between the two
    elsewhere    doubtful arrays, checked again at other points
    entries      numerical_grad, and single entries against differences
    verdict      from the evidence to the row of each array
    explain      a wrong gradient in words; blind spots of a point
    report       what was found, as rows, text, table and JSON
    products     check_pullback and check_hvp, by the same steps

Below them stand the mathematics:

    slopes       the slope of a function of one number and the noise of its values, by differences
    dual         numbers with a tangent: the exact slope of a function, by
    derivatives  the derivatives of the array API's functions, in tables
    arrays       sizes, copies and single entries of arrays of any library
"""

from mlp_xp.gradcheck.check import gradcheck
from mlp_xp.gradcheck.entries import numerical_grad
from mlp_xp.gradcheck.products import check_hvp, check_jvp, check_pullback
from mlp_xp.gradcheck.report import Report, TensorReport

__all__ = ["Report", "TensorReport", "check_hvp", "check_jvp", "check_pullback", "gradcheck", "numerical_grad"]
