"""The usual forms of a function with its backward pass are checked as they are: right ones pass, wrong ones don't."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from known_functions import QUICK, cubes_at_a_point

from mlp_xp import check_hvp, check_jvp, check_pullback, directional_derivative, gradcheck
from mlp_xp.gradcheck import forms
from mlp_xp.gradcheck.dual import Dual, DualNamespace
from mlp_xp.gradcheck.forms import CountedFunction, as_jvp, as_op, counterparts, flattened, rebuild, value_and_grad

RANDOM = np.random.default_rng(0)
A, B, C, V = (RANDOM.normal(size=size) for size in ((3, 4), (4, 2), (3, 2), 6))


# --- containers ------------------------------------------------------------------------------------------------------


class Layer(NamedTuple):
    weight: Any
    bias: Any


@dataclass
class Model:
    layer: Layer
    scale: Any


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
    for report in (gradcheck(f, grad, model), gradcheck(f, lambda m: (grad(m),), (model,))):
        report.raise_if_failed()
        assert [row.name for row in report.tensors] == [f"params[0]{path}" for path in paths]


def test_gradients_in_a_dict_may_come_in_another_order(xp, put):
    params = {"W": put(np.asarray([[0.3, -1.1], [0.8, 0.2]])), "b": put([0.5, -0.7])}

    def f(p):
        return xp.sum((p["W"] @ p["b"]) * p["b"])

    def grad(p):
        outer = p["b"][:, None] * p["b"][None, :]
        return {"b": (p["W"] + xp.matrix_transpose(p["W"])) @ p["b"], "W": outer}

    gradcheck(f, grad, params).raise_if_failed()


def test_a_dict_of_gradients_has_the_keys_of_the_parameters_that_are_arrays(put):
    f, grad, x = cubes_at_a_point(put)
    params = {"w": x, "rate": 0.5}

    def loss(params):
        return f(params["w"])

    gradcheck(loss, lambda params: ({"w": grad(params["w"])[0]},), (params,)).raise_if_failed()
    with pytest.raises(ValueError, match=r"a dict with the keys \['w'\] of the parameters, got \['weight'\]"):
        gradcheck(loss, lambda params: ({"weight": grad(params["w"])[0]},), (params,))


def test_gradients_of_a_dict_may_come_in_a_tuple_and_those_of_a_tuple_not_in_a_dict(xp, put):
    params = {"a": put(A), "b": put(V)}
    f, grad = (lambda p: xp.sum(p["a"] ** 2) + xp.sum(p["b"])), (lambda p: (2.0 * p["a"], xp.ones_like(p["b"])))
    gradcheck(f, grad, params).raise_if_failed()
    with pytest.raises(ValueError, match="grad must return a tuple of 2 gradients, one per parameter, got dict"):
        gradcheck(lambda a, b: f({"a": a, "b": b}), lambda a, b: {"a": 2.0 * a, "b": 1.0 + 0.0 * b}, (put(A), put(V)))


def test_a_dataclass_may_work_out_fields_of_its_own(put):
    f, grad, x = cubes_at_a_point(put)

    @dataclass(frozen=True)
    class Counted:
        weight: Any
        calls: int = field(default=0, init=False)

    gradcheck(lambda p: f(p.weight), lambda p: Counted(grad(p.weight)[0]), Counted(x)).raise_if_failed()


@pytest.mark.parametrize("factor", [1.0, -1.0])
@pytest.mark.parametrize(
    "give_back",
    [
        pytest.param(lambda layer: layer, id="same"),
        pytest.param(tuple, id="tuple", marks=QUICK),
        pytest.param(lambda layer: (layer,), id="in one", marks=QUICK),
    ],
)
def test_a_named_tuple_is_one_argument(xp, put, factor, give_back):
    """f takes it whole, whatever its gradients come in."""
    layer = Layer(put(A), put(V[:4]))

    def f(layer):
        return xp.sum(layer.weight * layer.bias)

    def grad(layer):
        ones = xp.ones_like(layer.weight)
        return give_back(Layer(ones * layer.bias, factor * xp.sum(layer.weight, axis=0)))

    report = gradcheck(f, grad, layer)
    assert [row.name for row in report.tensors] == ["params[0].weight", "params[0].bias"]
    assert [row.verdict for row in report.tensors] == ["pass", "pass" if factor == 1.0 else "fail"]


@QUICK
def test_a_named_tuple_is_one_argument_of_pullbacks_and_products_too(xp, put):
    layer = Layer(put(A), put(V[:4]))

    def op(layer):
        return layer.weight * layer.bias, lambda c: (Layer(c * layer.bias, xp.sum(c * layer.weight, axis=0)),)

    def cubes(layer):
        return Layer(3.0 * layer.weight**2, 3.0 * layer.bias**2)

    check_pullback(op, layer).raise_if_failed()
    check_hvp(cubes, lambda at, v: Layer(6.0 * at.weight * v.weight, 6.0 * at.bias * v.bias), layer).raise_if_failed()
    check_jvp(
        lambda layer: layer.weight * layer.bias,
        lambda at, v: at[0].weight * v[0].bias + v[0].weight * at[0].bias,
        layer,
    ).raise_if_failed()


def test_a_tree_is_paired_with_what_was_returned_for_it(put):
    x = put([1.0])
    model = {"a": x, "b": [Layer(x, 2.0)], "c": "name"}
    pairs = [("m['a']", 1), ("m['b'][0].weight", 2)]
    assert [(path, y) for path, _, y in counterparts({"b": [(2, 0)], "a": 1}, model, "m")] == pairs
    assert [y for *_, y in counterparts({"a": None, "b": None}, model, "m")] == [None, None]
    assert [y for *_, y in counterparts(None, model, "m")] == [None, None]
    with pytest.raises(ValueError, match=r"^m\['b'\] is a list of 1, and what was returned for it a list of 2$"):
        list(counterparts({"b": [1, 2]}, model, "m"))
    with pytest.raises(ValueError, match=r"^m is a tuple of 1, and what was returned for it "):
        list(counterparts(x, (x,), "m"))
    with pytest.raises(ValueError, match=r"^m is a tuple of 2, and what was returned for it dict$"):
        list(counterparts({"a": 1}, (x, x), "m"))
    with pytest.raises(ValueError, match=r"^m is dict, and what was returned for it a tuple of 3$"):
        list(counterparts((1, 2, 3), {"a": x}, "m"))


def test_a_tree_is_rebuilt_with_or_without_its_constants():
    x = np.ones(1)
    model = {"a": x, "b": [Layer(x, 2.0)], "c": "name"}
    assert rebuild(model, iter("xy")) == {"a": "x", "b": [Layer("y", 2.0)], "c": "name"}
    assert rebuild(model, iter("xy"), constants=False) == {"a": "x", "b": [Layer("y", None)], "c": None}


# --- numbers, and arrays that are not plain ---------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("f", "grad", "params"),
    [
        (lambda a: a**3, lambda a: (3 * a**2,), (2.0,)),
        (lambda a: a**3, lambda a: 3 * a**2, 2.0),
        (lambda a: math.sin(a), lambda a: math.cos(a), 2.0),
        (lambda a, b: a * a * b, lambda a, b: (2 * a * b, a * a), [2.0, 3.0]),
        (lambda a: math.exp(a), lambda a: (math.exp(a),), (np.float64(0.3),)),
        (lambda a: a * 3.0, lambda a: 3, np.asarray(0.3)),
        (lambda a, b: np.sum(a) * b, lambda a, b: (b + 0.0 * a, float(np.sum(a))), (V, np.asarray(0.7))),
    ],
)
def test_numbers_are_checked_as_0d_arrays(f, grad, params):
    gradcheck(f, grad, params).raise_if_failed()

    def wrong(*args):
        returned = grad(*args)
        return tuple(2 * g for g in returned) if isinstance(returned, tuple) else 2 * returned

    assert gradcheck(f, wrong, params).verdict == "fail"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ((2,), "got a tuple of 1; params[0] is an int, not an array"),
        (([2.0, 3.0],), "got a tuple of 1; params[0] is a list, not an array"),
        ({"a": 2.0}, "got dict; params[0] is a dict, not an array"),
        ("abc", "got str; params[0] is a str, not an array"),
        ((), "got a tuple of 0"),
    ],
)
def test_params_without_an_array_are_refused_in_one_sentence(params, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        gradcheck(lambda *_: 0.0, lambda *_: 0.0, params)
    assert str(error.value) == f"params must hold at least one array, {words}"


@pytest.mark.parametrize("value", [1, 2.5])
def test_a_number_returned_for_a_0d_array_has_its_dtype(xp, put, value):
    flat = flattened(lambda x: value * x, lambda x: (value,), (put(0.5, dtype=xp.float32),), None)
    (gradient,) = flat.grad(*flat.arrays)
    assert (gradient.dtype, tuple(gradient.shape), float(gradient)) == (xp.float32, (), value)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f8"])
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_arrays_in_another_byte_order_are_arrays(dtype, factor):
    x = V.astype(dtype)
    report = gradcheck(lambda x: np.sum(x**3), lambda x: (3.0 * factor * x * x,), (x,))
    assert report.verdict == ("pass" if factor == 1.0 else "fail")
    native = V.astype(x.dtype.newbyteorder("="))
    gradcheck(
        lambda x: np.sum(x**3), lambda x: ((3.0 * x * x).astype(dtype),), (native,), mode="full"
    ).raise_if_failed()


@pytest.mark.only("numpy", "torch", "jax")
@pytest.mark.parametrize("values", [V.astype(int), V > 0.0, V + 1j])
def test_what_can_not_be_differentiated_is_refused_by_its_name_and_complex_arrays_are_not(put, values):
    x = put(values)
    if values.dtype.kind == "c":
        assert flattened(lambda x: 0.0, lambda x: x, (x,), ("x",)).names == ("x.real", "x.imag")
        return
    with pytest.raises(TypeError, match=r"^x must be real floating, got "):
        flattened(lambda x: 0.0, lambda x: x, (x,), ("x",))


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_the_points_that_f_was_asked_for_are_counted_from_none():
    counted = CountedFunction(lambda x: np.sum(x))
    assert counted.count == 0
    for x, width in ((np.ones(3), 1), (np.ones((5, 3)), 5)):
        counted(x, width=width)
    assert counted.count == 6


def test_f_and_grad_never_see_the_callers_arrays(put):
    f, grad, x = cubes_at_a_point(put)
    seen = []
    flat = flattened(lambda x: seen.append(x) or f(x), lambda x: seen.append(x) or grad(x), (x,), None)
    for _ in range(2):
        flat.f(*flat.arrays)
        flat.grad(*flat.arrays)
    assert len(seen) == 4
    assert len({id(array) for array in (*seen, x, *flat.arrays)}) >= 5


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "check",
    [
        lambda x: gradcheck(np.sum, np.ones_like, x),
        lambda x: gradcheck(lambda p: np.sum(p["x"]), lambda p: {"x": np.ones(6)}, {"x": x}),
        lambda x: check_pullback(lambda v: (v, lambda c: (c,)), (x,)),
        lambda x: directional_derivative(np.sum, x, V),
    ],
    ids=["an array", "a dict", "an op", "a derivative"],
)
def test_masked_parameters_are_refused_since_their_mask_would_be_lost(check):
    with pytest.raises(TypeError, match=r"^params\[0\]\S* must be an array, got a masked one; fill what is masked"):
        check(np.ma.masked_array(V, mask=V > 1.0))


@pytest.mark.only("numpy")
def test_a_masked_gradient_is_told_to_have_zeros_instead():
    def grad(x):
        return (np.ma.masked_array(2.0 * x, mask=x > 1.0),)

    report = gradcheck(lambda x: np.sum(x[x <= 1.0] ** 2), grad, (V,))
    assert report.verdict == "fail"
    assert "is a masked array; return a plain one" in report.tensors[0].diagnosis


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "x",
    [
        V.reshape(3, 2).view(type("Units", (np.ndarray,), {})),
        np.asfortranarray(A),
        np.float64(0.5),
    ],
    ids=["subclass", "Fortran order", "scalar"],
)
def test_a_copy_is_of_the_class_and_in_the_order_of_its_array(x):
    flat = flattened(lambda x: 0.0, lambda x: x, (x,), None)
    (handed,) = flat.held.hand(flat.arrays)
    assert type(handed) is type(x)
    assert (handed is x) == isinstance(x, np.float64)
    assert handed.strides == x.strides
    np.testing.assert_array_equal(handed, x)


@pytest.mark.only("torch")
def test_a_parameter_of_torch_asks_for_gradients_in_every_copy_and_none_of_them_is_its_own(put):
    """The usual gradient function: backward() fills .grad. Under -W error, since float() of such a tensor warns."""
    import torch

    x = torch.nn.Parameter(put([0.7, -1.3, 2.1]))

    def f(x):
        return torch.sum(x**3)

    def by_backward(x):
        f(x).backward()
        return (x.grad,)

    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for grad in (by_backward, lambda x: torch.autograd.grad(f(x), x), lambda x: (3.0 * x * x,)):
            gradcheck(f, grad, (x,)).raise_if_failed()
        assert gradcheck(f, lambda x: (3.01 * x * x,), (x,)).verdict == "fail"
    assert x.grad is None


# --- complex arrays --------------------------------------------------------------------------------------------------

COMPLEX = pytest.mark.only("numpy", "torch", "jax", "array_api_strict")
Z = RANDOM.normal(size=(3, 2)) + 1j * RANDOM.normal(size=(3, 2))


def complex_functions(xp):
    """Real functions of a complex array, and ``df/da + i df/db`` of each, by hand."""
    return {
        "sum |z|^2": (lambda z: xp.sum(xp.real(z * xp.conj(z))), lambda z: 2.0 * z),
        "sum Re z^2": (lambda z: xp.sum(xp.real(z * z)), lambda z: 2.0 * xp.conj(z)),
        "sum Im z": (lambda z: xp.sum(xp.imag(z)), lambda z: 1j * xp.ones_like(z)),
        "sum Re exp z": (lambda z: xp.sum(xp.real(xp.exp(z))), lambda z: xp.conj(xp.exp(z))),
    }


@COMPLEX
@pytest.mark.parametrize("which", range(4))
def test_a_complex_array_is_two_real_ones(xp, put, which):
    f, grad = list(complex_functions(xp).values())[which]
    z = put(Z)
    report = gradcheck(f, lambda z: (grad(z),), (z,), names=("z",))
    report.raise_if_failed()
    assert [row.name for row in report.tensors] == ["z.real", "z.imag"]
    assert gradcheck(f, lambda z: (1.001 * grad(z),), (z,)).verdict == "fail"
    flat = flattened(f, lambda z: (xp.conj(grad(z)),), (z,), None, wirtinger="plain")
    expected = flattened(f, lambda z: (grad(z),), (z,), None)
    for one, other in zip(flat.grad(*flat.arrays), expected.grad(*flat.arrays), strict=True):
        assert bool(xp.all(one == other))
    conjugate = gradcheck(f, lambda z: (xp.conj(grad(z)),), (z,))
    assert [row.verdict for row in conjugate.tensors] == ["pass", "fail"]
    assert "check with wirtinger='plain'" in conjugate.tensors[1].diagnosis


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("which", range(4))
def test_the_conventions_are_those_of_torch_and_jax(xp, put, backend, which):
    f, grad = list(complex_functions(xp).values())[which]
    z = put(Z)
    if backend == "torch":
        import torch

        with torch.enable_grad():
            theirs, wirtinger = torch.func.grad(f)(z), "conjugate"
    else:
        import jax

        theirs, wirtinger = jax.grad(f)(z), "plain"
    flat = flattened(f, lambda z: (theirs,), (z,), None, wirtinger=wirtinger)
    by_hand = flattened(f, lambda z: (grad(z),), (z,), None)
    for one, other in zip(flat.grad(*flat.arrays), by_hand.grad(*flat.arrays), strict=True):
        assert float(xp.max(xp.abs(one - other))) < 1e-14 * float(xp.max(xp.abs(other)) + 1.0)


@COMPLEX
def test_complex_and_real_arrays_side_by_side_in_containers(xp, put):
    params = {"w": put(V[:2]), "z": put(Z), "b": put(0.3)}

    def f(p):
        y = p["z"] * (xp.astype(p["w"], p["z"].dtype))
        return xp.sum(xp.real(y * xp.conj(y))) * p["b"]

    def grad(p):
        squares = xp.real(p["z"] * xp.conj(p["z"]))
        w2 = xp.astype(p["b"] * p["w"] ** 2, p["z"].dtype)
        total = xp.sum(squares * p["w"] ** 2)
        return {"b": total, "z": 2.0 * p["z"] * w2, "w": 2.0 * p["b"] * p["w"] * xp.sum(squares, axis=0)}

    report = gradcheck(f, grad, params)
    report.raise_if_failed()
    names = ["params[0]['w']", "params[0]['z'].real", "params[0]['z'].imag", "params[0]['b']"]
    assert [row.name for row in report.tensors] == names


@COMPLEX
def test_complex_single_precision_is_checked(xp, put):
    z = put(Z, dtype=xp.complex64)
    flat = flattened(lambda z: xp.sum(xp.real(z)), lambda z: (xp.ones_like(z),), (z,), None)
    assert [x.dtype for x in flat.arrays] == [xp.float32, xp.float32]
    (handed,) = flat.held.hand(flat.arrays)
    assert handed.dtype == xp.complex64
    gradcheck(lambda z: xp.sum(xp.real(z * xp.conj(z))), lambda z: (2.0 * z,), (z,)).raise_if_failed()


@pytest.mark.only("numpy", "torch")
def test_an_f_that_changes_its_complex_argument_is_named(xp, put):
    def f(z):
        value = xp.sum(xp.real(z * xp.conj(z)))
        z *= 2.0
        return value

    assert gradcheck(f, lambda z: (2.0 * z,), (put(Z),), names=("z",)).contract == ("f changes z in place",)


@COMPLEX
def test_a_gradient_of_another_kind_than_its_array_is_refused(xp, put):
    z, x = put(Z), put(V)
    with pytest.raises(TypeError, match=r"^the gradient of z must be complex, as z is, got .*float64"):
        gradcheck(lambda z: xp.sum(xp.real(z)), lambda z: (xp.real(z),), (z,), names=("z",))
    report = gradcheck(lambda x: xp.sum(x * x), lambda x: (2.0 * xp.astype(x, xp.complex128),), (x,))
    assert "the gradient has dtype " in report.tensors[0].diagnosis
    with pytest.raises(ValueError, match="wirtinger must be 'conjugate' or 'plain', got 'jax'"):
        flattened(lambda z: 0.0, lambda z: z, (z,), None, wirtinger="jax")


# --- one function that returns both, one flat vector -----------------------------------------------------------------


def test_a_flat_vector_and_its_jacobian_are_checked_as_they_are(put):
    f, grad, x = cubes_at_a_point(put)
    gradcheck(f, lambda x: grad(x)[0], x).raise_if_failed()
    assert gradcheck(f, lambda x: 1.01 * grad(x)[0], x).verdict == "fail"


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
def test_a_function_of_value_and_gradients_is_checked_as_two(xp, put, factor):
    def fun(W, b):
        z = W @ b
        return xp.sum(z * z), (2.0 * z[:, None] * b[None, :], factor * 2.0 * xp.matrix_transpose(W) @ z)

    report = gradcheck(*value_and_grad(fun), (put(A), put(V[:4])), names=("W", "b"))
    assert [row.verdict for row in report.tensors] == ["pass", "pass" if factor == 1.0 else "fail"]


def test_value_and_grad_says_what_should_have_been_returned():
    f, grad = value_and_grad(lambda x: (1.0, x, x))
    for half in (f, grad):
        with pytest.raises(TypeError, match=r"fun must return \(value, gradients\), got a tuple of 3"):
            half(A)
    with pytest.raises(TypeError, match=r"fun must return \(value, gradients\), got float"):
        value_and_grad(lambda x: 1.0)[0](A)


@pytest.mark.only("numpy")
def test_scipys_pair_of_a_function_and_its_jac_on_a_flat_vector():
    optimize = pytest.importorskip("scipy.optimize")  # comes with scikit-learn
    x = V
    assert gradcheck(optimize.rosen, optimize.rosen_der, x).ok
    assert gradcheck(lambda x: optimize.rosen(x), lambda x: optimize.rosen_der(x)[::-1].copy(), x).verdict == "fail"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("right", [True, False])
def test_a_packed_loss_and_gradient_as_an_optimizer_wants_it(right):
    """Logistic regression, weights and intercept in one vector, as scikit-learn's solvers hand it to scipy."""
    random = np.random.default_rng(1)
    X, y = random.normal(size=(20, 3)), random.integers(0, 2, 20) * 2.0 - 1.0

    def loss_gradient(packed):
        weights, intercept = packed[:-1], packed[-1]
        margin = y * (X @ weights + intercept)
        slope = -y / (1.0 + np.exp(margin)) / len(y)
        packed_gradient = np.append(X.T @ slope + 0.1 * weights, slope.sum() + (0.0 if right else 0.1 * intercept))
        return np.mean(np.logaddexp(0.0, -margin)) + 0.05 * weights @ weights, packed_gradient

    report = gradcheck(*value_and_grad(loss_gradient), V[:4])
    assert report.verdict == ("pass" if right else "fail")
    assert right or report.tensors[0].index == (3,)  # the penalty is on the intercept too


# --- torch -----------------------------------------------------------------------------------------------------------


def test_as_op_returns_an_op_as_it_is():
    def op(x):
        return x, lambda c: (c,)

    assert as_op(op) is op


def torch_matmul(weight_factor=1.0, shared_mistake=False):
    import torch

    class Matmul(torch.autograd.Function):
        """A @ B, or with a shared mistake twice that, forwards and backwards."""

        @staticmethod
        def forward(context, A, B):
            context.save_for_backward(A, B)
            return (2.0 if shared_mistake else 1.0) * A @ B

        @staticmethod
        def backward(context, c):
            A, B = context.saved_tensors
            both = 2.0 if shared_mistake else 1.0
            return both * c @ B.T, both * weight_factor * A.T @ c

    return Matmul


def checked(function, *args):
    return check_pullback(as_op(function), args)


@pytest.mark.only("torch")
def test_a_torch_function_with_a_right_backward_passes(put):
    assert checked(torch_matmul(), put(A), put(B)).ok


@pytest.mark.only("torch")
@pytest.mark.parametrize("factor", [-1.0, 2.0, 1.0 + 1e-6, 0.0])
def test_a_torch_function_with_a_wrong_backward_fails(put, factor):
    report = checked(torch_matmul(factor), put(A), put(B))
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]


@pytest.mark.only("torch")
def test_a_mistake_that_forward_and_backward_share_stays_hidden(put):
    assert checked(torch_matmul(shared_mistake=True), put(A), put(B)).ok


@pytest.mark.only("torch")
def test_the_value_and_the_cotangents_of_a_torch_function_are_torchs_own(put, host):
    a, b = put(A).requires_grad_(), put(B)
    value, pullback = as_op(torch_matmul())(a, b)
    np.testing.assert_allclose(host(value), A @ B, rtol=1e-15)
    assert not value.requires_grad
    assert a.grad is None
    for times in (1.0, 3.0):  # the pullback can be called again; where products cancel some eps of them are left
        da, db = map(host, pullback(put(times * C)))
        np.testing.assert_allclose(da, times * C @ B.T, rtol=1e-14, atol=times * 1e-15)
        np.testing.assert_allclose(db, times * A.T @ C, rtol=1e-14, atol=times * 1e-15)


@pytest.mark.only("torch")
def test_arguments_without_gradients_are_passed_on_to_a_torch_function(put, host):
    import torch

    class Picked(torch.autograd.Function):
        @staticmethod
        def forward(context, x, rows, factor, unused):
            context.save_for_backward(rows)
            context.factor, context.shape = factor, x.shape
            return factor * x[rows]

        @staticmethod
        def backward(context, c):
            (rows,) = context.saved_tensors
            return c.new_zeros(context.shape).index_add(0, rows, context.factor * c), None, None, None

    x, rows, unused = put(A), put(np.asarray([2, 0, 2])), put(B)
    op = as_op(Picked)
    dx, *bound, zeros = op(x, rows, 2.5, unused)[1](put(np.ones((3, 4))))
    np.testing.assert_array_equal(host(dx), np.asarray([2.5, 0.0, 5.0])[:, None] * np.ones(4))
    assert bound == [None, None]
    np.testing.assert_array_equal(host(zeros), np.zeros_like(B))  # backward says None: no gradient, which is zero
    assert check_pullback(lambda x, unused: op(x, rows, 2.5, unused), (x, unused)).ok


@pytest.mark.only("torch")
def test_a_torch_function_works_where_gradients_are_switched_off(put):
    import torch

    with torch.no_grad():
        assert checked(torch_matmul(), put(A), put(B)).ok


def torch_several(factor=1.0):
    import torch

    class Several(torch.autograd.Function):
        """x * y, where the largest x are, x + y^2, and a mask without a gradient that is floating."""

        @staticmethod
        def forward(context, x, y):
            context.save_for_backward(x, y)
            where, mask = x.argmax(0), (x > 0).to(x.dtype)
            context.mark_non_differentiable(where, mask)
            return x * y, where, x + y * y, mask

        @staticmethod
        def backward(context, c, _, d, __):
            x, y = context.saved_tensors
            return c * y + d, c * x + 2.0 * factor * d * y

    return Several


@pytest.mark.only("torch")
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
def test_a_torch_function_of_several_outputs_is_checked_in_all_of_them(put, factor):
    a, b = put(A), put(A[::-1].copy())
    report = check_pullback(torch_several(factor), (a, b))
    assert [row.verdict for row in report.tensors] == ["pass", "pass" if factor == 1.0 else "fail"]


@pytest.mark.only("torch")
def test_outputs_without_a_gradient_have_no_value_and_no_cotangent(put, host):
    a, b = put(A), put(A[::-1].copy())
    value, pullback = as_op(torch_several())(a, b)
    assert [x is None for x in value] == [False, True, False, True]
    assert not value[0].requires_grad
    one, other = put(np.ones_like(A)), put(A)
    for cotangent, expected in (((one, None, other, None), b + other), ((one, None, None, None), b)):
        np.testing.assert_allclose(host(pullback(cotangent)[0]), host(expected), rtol=1e-15)


@pytest.mark.only("torch")
def test_a_torch_function_without_an_output_that_has_a_gradient_is_refused_in_one_sentence(put):
    import torch

    class Where(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.argmax(0)

    with pytest.raises(TypeError, match=r"^Where must return a tensor that has a gradient, got Tensor$"):
        as_op(Where)(put(A))


@pytest.mark.only("torch")
def test_a_torch_function_that_changes_its_argument_is_named(put, host):
    import torch

    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            value = 2.0 * x
            x.zero_()
            return value

        @staticmethod
        def backward(context, c):
            return 2.0 * c

    a = put(A)
    assert check_pullback(Careless, (a,)).contract == ("op changes params[0] in place",)
    np.testing.assert_array_equal(host(a), A)


@pytest.mark.only("torch")
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6, -1.0])
def test_the_complex_cotangents_of_a_torch_function_are_torchs(put, factor):
    """torch.autograd.gradcheck is the oracle: it takes the right one and refuses the others."""
    import torch

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(context, z):
            context.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(context, c):
            return 2.0 * factor * c * context.saved_tensors[0].conj()

    z = put(Z)
    report = check_pullback(Square, (z,))
    assert report.verdict == ("pass" if factor == 1.0 else "fail")
    if factor != 1.0 + 1e-6:  # finer than it sees
        with torch.enable_grad():
            theirs = torch.autograd.gradcheck(Square.apply, z.requires_grad_(), raise_exception=False)
        assert theirs == (factor == 1.0)


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch: it warns where what asks for gradients is copied
def test_a_parameter_of_torch_is_a_tensor(put):
    import torch

    x = torch.nn.Parameter(put([0.7, -1.3, 2.1]))

    def f(x):
        return torch.sum(x**3)

    def grad(x):
        return torch.autograd.grad(f(x.requires_grad_()), x)

    with torch.enable_grad():
        report = gradcheck(f, grad, (x,))
    report.raise_if_failed()
    assert "copies" not in report.reference


# --- jax.custom_vjp --------------------------------------------------------------------------------------------------


def jax_matmul(factor=1.0, forward_factor=1.0):
    import jax

    @jax.custom_vjp
    def matmul(A, B):
        return A @ B

    def forward(A, B):
        return forward_factor * (A @ B), (A, B)

    def backward(kept, c):
        A, B = kept
        return c @ B.T, factor * A.T @ c

    matmul.defvjp(forward, backward)
    return matmul


@pytest.mark.only("jax")
def test_a_jax_custom_vjp_that_is_right_passes(put):
    assert checked(jax_matmul(), put(A), put(B)).ok


@pytest.mark.only("jax")
@pytest.mark.parametrize("factor", [-1.0, 2.0, 1.0 + 1e-6, 0.0])
def test_a_jax_custom_vjp_that_is_wrong_fails(put, factor):
    report = checked(jax_matmul(factor), put(A), put(B))
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]


@pytest.mark.only("jax")
def test_the_value_is_that_of_the_jax_function_and_not_of_its_forward_rule(put, host):
    value, pullback = as_op(jax_matmul(forward_factor=2.0))(put(A), put(B))
    np.testing.assert_allclose(host(value), A @ B, rtol=1e-15)
    for times in (1.0, 3.0):
        da, db = pullback(put(times * C))
        np.testing.assert_allclose(host(da), times * C @ B.T, rtol=1e-14, atol=times * 1e-15)
        np.testing.assert_allclose(host(db), times * A.T @ C, rtol=1e-14, atol=times * 1e-15)


@pytest.mark.only("jax")
@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_a_jax_custom_vjp_of_containers_and_of_arguments_without_gradients(put, factor):
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def layer(params, labels):
        return jnp.take(params["W"], labels, axis=0) + params["b"]

    def forward(params, labels):
        return layer(params, labels), (params, labels)

    def backward(kept, c):
        params, labels = kept
        return {"W": jnp.zeros_like(params["W"]).at[labels].add(c), "b": factor * c.sum(axis=0)}, None

    layer.defvjp(forward, backward)
    params, labels = {"W": put(A), "b": put(A[0])}, put(np.asarray([2, 0, 2]))
    assert as_op(layer)(params, labels)[1](put(A))[1] is None
    report = check_pullback(lambda params: as_op(layer)(params, labels), (params,))
    assert [row.verdict for row in report.tensors] == ["pass", "pass" if factor == 1.0 else "fail"]


@pytest.mark.only("jax")
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
def test_a_jax_custom_vjp_of_several_outputs_is_checked_in_all_of_them(put, factor):
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def several(x, y):
        return {"product": x * y, "where": jnp.argmax(x, axis=0)}, x + y * y

    def backward(kept, c):
        x, y = kept
        return c[0]["product"] * y + c[1], c[0]["product"] * x + 2.0 * factor * c[1] * y

    several.defvjp(lambda x, y: (several(x, y), (x, y)), backward)
    report = check_pullback(several, (put(A), put(A[::-1].copy())))
    assert [row.verdict for row in report.tensors] == ["pass", "pass" if factor == 1.0 else "fail"]


@pytest.mark.only("jax")
def test_a_jax_function_without_an_output_that_has_a_gradient_is_refused_in_one_sentence(put):
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def where(x):
        return jnp.argmax(x, axis=0)

    where.defvjp(lambda x: (where(x), None), lambda _, c: (None,))
    with pytest.raises(TypeError, match=r"^where must return an array that has a gradient, got ArrayImpl$"):
        as_op(where)(put(A))


@pytest.mark.only("jax")
@pytest.mark.parametrize("conjugate", [False, True])
def test_the_complex_cotangents_of_a_jax_function_are_jaxs(put, conjugate):
    """As jax.vjp of the same function has them."""
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def square(z):
        return z * z

    def backward(z, c):
        return (2.0 * c * (jnp.conj(z) if conjugate else z),)

    square.defvjp(lambda z: (z * z, z), backward)
    z, c = put(Z), put(Z[::-1].copy())
    theirs = jax.vjp(lambda z: z * z, z)[1](c)[0]
    right = bool(jnp.allclose(as_op(square)(z)[1](c)[0], theirs, rtol=1e-14))
    assert right == (not conjugate)
    assert check_pullback(square, (z,)).ok == right


# --- forward rules ---------------------------------------------------------------------------------------------------


@pytest.mark.only("jax")
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
def test_a_jax_custom_jvp_is_checked_forwards_and_backwards(put, factor):
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def scaled(params, rows, rate):
        return jnp.sin(params["W"])[rows] * rate, jnp.sum(params["b"] ** 2)

    @scaled.defjvp
    def _(primals, tangents):
        (params, rows, rate), (d, *_) = primals, tangents
        return scaled(*primals), (
            factor * (jnp.cos(params["W"]) * d["W"])[rows] * rate,
            2.0 * jnp.sum(params["b"] * d["b"]),
        )

    args = {"W": put(A), "b": put(V), "a number": 0.5, "integers": put([1])}, put(np.asarray([2, 0, 2])), 0.5
    for report in (check_jvp(scaled, None, args), check_pullback(scaled, args)):
        assert [row.verdict for row in report.tensors] == ["pass" if factor == 1.0 else "fail", "pass"]
        assert [row.name for row in report.tensors] == ["params[0]['W']", "params[0]['b']"]


@pytest.mark.only("torch")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch: its forward mode uses its own scripts
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
def test_the_jvp_of_a_torch_function_is_checked(put, factor):
    import torch

    class Powers(torch.autograd.Function):
        @staticmethod
        def forward(context, x, power, y):
            context.save_for_forward(x, y)
            context.power, where = power, x.argmax(0)
            context.mark_non_differentiable(where)
            return x**power * y, where, x + 0.0

        @staticmethod
        def jvp(context, dx, _, dy):
            x, y = context.saved_tensors
            along_x = context.power * x ** (context.power - 1) * dx * y
            return along_x + factor * x**context.power * dy, None, dx + 0.0

    report = check_jvp(Powers, None, (put(A), 3, put(A[::-1].copy())))
    assert [row.verdict for row in report.tensors] == ["pass", "pass" if factor == 1.0 else "fail"]


def test_what_has_no_forward_rule_is_refused_in_one_sentence():
    with pytest.raises(
        TypeError, match=r"^jvp must be a function, or op a torch.autograd.Function or a jax.custom_jvp, "
    ):
        as_jvp(3.0)


@QUICK
@pytest.mark.parametrize("convention", ["conjugate", "plain"])
def test_a_complex_gradient_of_the_other_convention_is_told_which_option_means_it(xp, put, convention):
    z = put([1.0, -2.0, 0.5]) + 1j * put([0.3, 1.0, -0.7])
    sign = {"conjugate": 1.0, "plain": -1.0}

    def f(z):
        return xp.sum(xp.real(z) ** 2 + 3.0 * xp.imag(z) ** 2)

    def grad(z, convention=convention):
        return (2.0 * xp.real(z) + 6j * sign[convention] * xp.imag(z),)

    gradcheck(f, grad, (z,), wirtinger=convention).raise_if_failed()
    other = {"conjugate": "plain", "plain": "conjugate"}[convention]
    report = gradcheck(f, grad, (z,), wirtinger=other)
    assert [row.verdict for row in report.tensors] == ["pass", "fail"]
    assert f"check with wirtinger='{convention}'" in report.tensors[1].diagnosis


@pytest.mark.only("numpy")
def test_what_nothing_can_change_is_not_copied():
    """A number of NumPy's, a dual number; an array is, in its own class and order."""
    dual = Dual(DualNamespace(np), np.ones(2), np.ones(2))
    for x in (np.float64(1.5), dual):
        assert forms.fresh(x) is x
    for x in (np.asfortranarray(np.ones((2, 3))), np.ma.masked_array([1.0, 2.0], [True, False])):
        copied = forms.fresh(x)
        assert copied is not x
        assert not np.shares_memory(copied, x)
        assert (type(copied), copied.strides) == (type(x), x.strides)
