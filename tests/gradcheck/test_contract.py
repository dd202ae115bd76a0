"""What a gradient function owes besides the right numbers, and the other things that one can hand to the checker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import textbook

import mlp_xp as mx


class Layer(NamedTuple):
    weight: Any
    bias: Any


@dataclass
class Model:
    layer: Layer
    scale: Any


def cubes(xp, put):
    """f = sum x^3 and its gradient, at a point of no symmetry."""
    return (lambda x: xp.sum(x * x * x)), (lambda x: (3.0 * x * x,)), put(np.asarray([0.7, -1.3, 2.1, 0.4]))


def test_a_gradient_drawn_afresh_is_named_as_that(xp, put):
    f, grad, x = cubes(xp, put)
    random = np.random.default_rng(0)
    report = mx.gradcheck(f, lambda x: (grad(x)[0] * put(random.integers(0, 2, 4) * 2.0),), (x,))
    assert report.verdict == "fail"
    assert "grad is not repeatable" in str(report)


def test_a_function_drawn_afresh_is_named_as_that(xp, put):
    f, grad, x = cubes(xp, put)
    random = np.random.default_rng(0)
    report = mx.gradcheck(lambda x: f(x) * float(random.uniform(0.9, 1.1)), grad, (x,))
    assert report.verdict == "fail"
    assert "f is not repeatable" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")  # elsewhere nothing can be changed in place
def test_a_gradient_function_that_changes_its_argument_is_named_as_that(xp, put):
    f, grad, x = cubes(xp, put)

    def careless(x):
        gradient = grad(x)
        x *= 2.0
        return gradient

    report = mx.gradcheck(f, careless, (x,), names=("x",))
    assert report.verdict == "fail"
    assert "grad changes x in place" in str(report)


def test_a_stale_cache_of_f_is_named_as_that(xp, put):
    cache = {}

    def f(x):
        cache["x"] = x
        return xp.sum(x * x * x)

    report = mx.gradcheck(f, lambda _: (3.0 * cache["x"] * cache["x"],), (put([0.7, -1.3]),))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


def test_a_gradient_that_remembers_its_first_argument_is_named_as_that(xp, put):
    f, grad, x = cubes(xp, put)
    calls = []

    def remembers(x):
        calls.append(x)
        return grad(calls[max(0, len(calls) - 2)])  # always one call behind

    report = mx.gradcheck(f, remembers, (x,))
    assert report.verdict == "fail"
    assert "stale cache" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "jax", "cupy")  # a Dask array is computed, and so another one
def test_the_parameter_itself_is_no_gradient_of_its_own(xp, put):
    report = mx.gradcheck(lambda x: 0.5 * xp.sum(x * x), lambda x: (x,), (put([0.7, -1.3]),))
    assert report.verdict == "fail"
    assert "the parameter itself" in str(report)


def test_a_pullback_that_is_not_linear_is_named_as_that(xp, put):
    x = put([0.7, -1.3, 2.1])
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c + 0.1 * c * c,)), (x,))
    assert "the pullback is not linear" in str(report)
    report = mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c + 1.0,)), (x,))
    assert "zero cotangent" in str(report)
    mx.check_pullback(lambda x: (2.0 * x, lambda c: (2.0 * c,)), (x,)).raise_if_failed()


def containers(xp, put):
    """A model in nested containers, f of it, its gradient in the same containers, and the rows' names."""
    random = np.random.default_rng(1)
    layer = Layer(put(random.standard_normal((3, 2))), put(random.standard_normal(2)))
    model = {"first": [Model(layer, put(1.5))], "name": "ours"}
    X = put(random.standard_normal((5, 3)))

    def value(model):
        (inner,) = model["first"]
        return X @ inner.layer.weight + inner.layer.bias, inner.scale

    def f(model):
        z, scale = value(model)
        return scale * xp.sum(z * z)

    def grad(model):
        z, scale = value(model)
        layer = Layer(2.0 * scale * (xp.matrix_transpose(X) @ z), 2.0 * scale * xp.sum(z, axis=0))
        return {"first": [Model(layer, xp.sum(z * z))], "name": "ours"}

    return f, grad, model, ["['first'][0].layer.weight", "['first'][0].layer.bias", "['first'][0].scale"]


def test_parameters_may_be_nested_containers_named_by_their_path(xp, put):
    f, grad, model, paths = containers(xp, put)
    for report in (mx.gradcheck(f, grad, model), mx.gradcheck(f, lambda m: (grad(m),), (model,))):
        report.raise_if_failed()
        assert [row.name for row in report.tensors] == [f"params[0]{path}" for path in paths]


def test_a_flat_vector_and_its_jacobian_are_checked_as_they_are(xp, put):
    f, grad, x = cubes(xp, put)
    mx.gradcheck(f, lambda x: grad(x)[0], x).raise_if_failed()
    assert mx.gradcheck(f, lambda x: 1.01 * grad(x)[0], x).verdict == "fail"


def test_a_hessian_vector_product_is_checked(xp, put):
    x = put([0.7, -1.3, 2.1])

    def grad(x):
        return (3.0 * x * x,)

    mx.check_hvp(grad, lambda at, v: (6.0 * at[0] * v[0],), (x,)).raise_if_failed()
    assert mx.check_hvp(grad, lambda at, v: (3.0 * at[0] * v[0],), (x,)).verdict == "fail"


def test_a_hypothesis_that_explains_the_gradient_is_the_diagnosis(xp, put):
    f, _, x = cubes(xp, put)
    hypotheses = {"the square was forgotten": lambda x: (3.0 * x,), "the 3 was forgotten": lambda x: (x * x,)}
    report = mx.gradcheck(f, lambda x: (x * x,), (x,), hypotheses=hypotheses)
    assert report.tensors[0].diagnosis == "the 3 was forgotten"
    report = mx.gradcheck(f, lambda x: (x * x * x,), (x,), hypotheses=hypotheses)
    assert "forgotten" not in report.tensors[0].diagnosis


@pytest.mark.only("numpy")  # of the search, which is the same on every backend and takes hundreds of values
@pytest.mark.parametrize(
    ("spoil", "index", "words"),
    [
        (lambda g: g * (np.arange(784)[:, None] != 300), (300, None), "all in row 300, which is zero"),
        (lambda g: np.where(np.arange(784 * 32).reshape(784, 32) == 9876, -g, g), (308, 20), "one entry"),
    ],
    ids=["one row of 784 is zero", "one entry of 25,088 has the wrong sign"],
)
def test_where_a_large_tensor_is_wrong_is_found(spoil, index, words):
    random = np.random.default_rng(2)
    X, y, params = random.standard_normal((32, 784)), random.integers(0, 10, 32), mx.init_params((784, 32, 10))

    def wrong(*params):
        first, *rest = mx.loss_and_grads(X, y, *params)[1]
        return spoil(first), *rest

    row = mx.gradcheck(lambda *p: mx.objective(X, y, *p), wrong, params).tensors[0]
    assert row.verdict == "fail"
    assert row.index[0] == index[0]
    assert index[1] in (None, row.index[1])
    assert words in row.diagnosis or "row 308" in row.diagnosis


@pytest.mark.only("numpy", "array_api_strict", "torch", "jax", "cupy")  # of Dask it would take minutes
def test_a_relative_error_of_1e_8_everywhere_is_refused_at_any_scale_of_the_loss(xp, put):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    for scale in (1e-6, 1.0, 1e6):

        def f(*p, scale=scale):
            return scale * mx.objective(X, y, *p)

        def grad(*p, scale=scale, error=0.0):
            return tuple(scale * (1.0 + error) * g for g in mx.loss_and_grads(X, y, *p)[1])

        report = mx.gradcheck(f, grad, params)
        report.raise_if_failed()
        assert report.evaluations <= 100
        assert mx.gradcheck(f, lambda *p, grad=grad: grad(*p, error=1e-8), params).verdict == "fail"


def test_gradients_in_a_dict_may_come_in_another_order(xp, put):
    params = {"W": put(np.asarray([[0.3, -1.1], [0.8, 0.2]])), "b": put([0.5, -0.7])}

    def f(p):
        return xp.sum((p["W"] @ p["b"]) * p["b"])

    def grad(p):
        outer = p["b"][:, None] * p["b"][None, :]
        return {"b": (p["W"] + xp.matrix_transpose(p["W"])) @ p["b"], "W": outer}

    mx.gradcheck(f, grad, params).raise_if_failed()


@pytest.mark.only("numpy")
def test_every_entry_is_compared_when_that_is_asked_for():
    x = np.random.default_rng(3).standard_normal((40, 40))
    report = mx.gradcheck(lambda x: np.sum(x**2), lambda x: (2 * x,), (x,), mode="full")
    report.raise_if_failed()
    assert report.tensors[0].checked == 1600


def test_parameters_of_two_dtypes_are_each_scores_by_their_own(xp, put):
    a, b = put([0.7, -1.3]), xp.astype(put([2.1, 0.4]), xp.float32)

    def f(a, b):
        return xp.sum(a * a) + xp.sum(xp.astype(b, xp.float64) * xp.astype(b, xp.float64))

    mx.gradcheck(f, lambda a, b: (2.0 * a, 2.0 * b), (a, b)).raise_if_failed()


def test_an_op_of_the_library_means_what_its_name_does(put, host):
    X, y, params = put(textbook.batch()), put(textbook.labels()), tuple(map(put, textbook.parameters()))
    for name in mx.losses.CRITERIA:
        op = getattr(mx.losses, name)
        ours, theirs = mx.forward(X, *params, criterion=op)[0], mx.forward(X, *params, criterion=name)[0]
        np.testing.assert_array_equal(host(ours), host(theirs))
    mx.objective(X, y, *params, criterion=mx.losses.softmax_cross_entropy, label_smoothing=0.1)


def test_a_gradient_that_is_wrong_in_float32_alone_does_not_pass(xp, put):
    f, grad, x = cubes(xp, put)
    x = xp.astype(x, xp.float32)
    mx.gradcheck(f, grad, (x,)).raise_if_failed()
    report = mx.gradcheck(f, lambda x: (grad(x)[0] * (1.1 if x.dtype == xp.float32 else 1.0),), (x,))
    assert report.verdict == "inconclusive"
    assert "0.1 of its size away" in report.tensors[0].diagnosis


# --- what stays of one call to the next ------------------------------------------------------------------------------


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")
def test_a_gradient_function_that_fills_the_same_arrays_at_every_call_is_named_as_that(xp, put):
    f, grad, x = cubes(xp, put)
    buffer = xp.zeros_like(x)

    def thrifty(x):
        buffer[...] = grad(x)[0]
        return (buffer,)

    assert "overwrites" in str(mx.gradcheck(f, thrifty, (x,)))
    assert mx.gradcheck(f, thrifty, (x,)).verdict == "fail"


def test_gradients_that_accumulate_are_named_as_that(xp, put):
    f, grad, x = cubes(xp, put)
    total = [0.0 * x]

    def accumulating(x):
        total[0] = total[0] + grad(x)[0]
        return (total[0],)

    report = mx.gradcheck(f, accumulating, (x,))
    assert report.verdict == "fail"
    assert "gradients accumulate" in str(report)


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")
def test_a_cache_by_the_identity_of_an_array_is_named_as_that(xp, put):
    """What an optimizer that updates in place meets: the same array, with other numbers."""
    f, grad, x = cubes(xp, put)
    seen = []  # the arrays too, so that no two have one identity

    def cached(x):
        if not any(x is array for array, _ in seen):
            seen.append((x, grad(x)))
        return tuple(1.0 * g for array, gradients in seen if array is x for g in gradients)

    report = mx.gradcheck(f, cached, (x,))
    assert report.verdict == "fail"
    assert "changed in place" in str(report)


# --- what comes back in another form ---------------------------------------------------------------------------------


def test_what_is_no_array_is_named(xp, put):
    f, grad, x = cubes(xp, put)
    for returned, kind in ((None, "NoneType"), (1.0, "float"), ([1.0], "list")):
        with pytest.raises(ValueError, match=f"number 1 is a {kind}, not an array"):
            mx.gradcheck(f, lambda x: (returned,), (x,))  # noqa: B023
    with pytest.raises(ValueError, match=r"params\[1\] is a float, not an array"):
        mx.gradcheck(lambda x, s: s * f(x), lambda x, s: (s * grad(x)[0], f(x)), (x, 2.0))


def test_what_is_no_function_is_named(xp, put):
    f, grad, x = cubes(xp, put)
    with pytest.raises(TypeError, match="f must be a function, got float"):
        mx.gradcheck(1.0, grad, (x,))
    with pytest.raises(TypeError, match=r"grad must be a function, or True where f returns .*, got NoneType"):
        mx.gradcheck(f, None, (x,))
    with pytest.raises(ValueError, match="max_entries must be positive, got 0"):
        mx.gradcheck(f, grad, (x,), max_entries=0)


def test_a_dict_of_gradients_has_the_keys_of_the_parameters_that_are_arrays(xp, put):
    f, grad, x = cubes(xp, put)
    params = {"w": x, "rate": 0.5}

    def loss(params):
        return f(params["w"])

    mx.gradcheck(loss, lambda params: ({"w": grad(params["w"])[0]},), (params,)).raise_if_failed()
    with pytest.raises(ValueError, match=r"a dict with the keys \['w'\] of the parameters, got \['weight'\]"):
        mx.gradcheck(loss, lambda params: ({"weight": grad(params["w"])[0]},), (params,))


def test_a_dataclass_may_work_out_fields_of_its_own(xp, put):
    f, grad, x = cubes(xp, put)

    @dataclass(frozen=True)
    class Counted:
        weight: Any
        calls: int = field(default=0, init=False)

    mx.gradcheck(lambda p: f(p.weight), lambda p: Counted(grad(p.weight)[0]), Counted(x)).raise_if_failed()


def test_a_hessian_vector_product_is_that_of_params_in_any_container(xp, put):
    x = put([0.7, -1.3, 2.1])

    def product(x, v):
        return 6.0 * x * v

    mx.check_hvp(lambda x: 3.0 * x * x, product, x).raise_if_failed()
    mx.check_hvp(
        lambda p: {"w": 3.0 * p["w"] ** 2}, lambda p, v: {"w": product(p["w"], v["w"])}, {"w": x}
    ).raise_if_failed()
    wrong = mx.check_hvp(lambda p: {"w": 3.0 * p["w"] ** 2}, lambda p, v: {"w": -product(p["w"], v["w"])}, {"w": x})
    assert wrong.verdict == "fail"
    with pytest.raises(ValueError, match="grad must return 1 gradients, one per parameter, got 2"):
        mx.check_hvp(lambda x: (x, x), product, (x,))


# --- what a pullback and its op are made of --------------------------------------------------------------------------


@pytest.mark.only("numpy", "array_api_strict", "torch", "cupy")
def test_a_pullback_that_changes_its_cotangent_is_named_as_that(xp, put):
    def op(x):
        def pullback(c):
            c *= 2.0
            return (1.0 * c,)

        return 2.0 * x, pullback

    report = mx.check_pullback(op, (put([0.7, -1.3, 2.1]),))
    assert report.verdict == "fail"
    assert report.contract == ("the pullback changes its cotangent in place",)
    assert [row.verdict for row in report.tensors] == ["pass"]


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (lambda xp: lambda x: 2.0 * x, r"op must return \(value, pullback\), got "),
        (lambda xp: lambda x: (2.0 * x, 2.0), r"op must return \(value, pullback\), got tuple"),
        (lambda xp: lambda x: ((x, x), lambda c: (c,)), "the value of op must be one array, got tuple"),
        (lambda xp: lambda x: (xp.astype(x, xp.int32), lambda c: (c,)), "the value of op must be real floating, got "),
        (
            lambda xp: lambda x: (2.0 * x, lambda c: 2.0 * c),
            "pullback must return a tuple of 1 cotangents, one ",
        ),
        (lambda xp: 3.0, "op must be a function, got float"),
    ],
)
def test_what_is_no_op_is_one_sentence(xp, put, op, words):
    with pytest.raises((TypeError, ValueError), match=words):
        mx.check_pullback(op(xp), (put([0.7, -1.3, 2.1]),))
