"""The usual forms of a function with its backward pass are checked as they are: right ones pass, wrong ones don't."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from known_functions import cubes_at_a_point

from mlp_xp import check_pullback, gradcheck
from mlp_xp.gradcheck.forms import as_op, value_and_grad

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


def test_a_dataclass_may_work_out_fields_of_its_own(put):
    f, grad, x = cubes_at_a_point(put)

    @dataclass(frozen=True)
    class Counted:
        weight: Any
        calls: int = field(default=0, init=False)

    gradcheck(lambda p: f(p.weight), lambda p: Counted(grad(p.weight)[0]), Counted(x)).raise_if_failed()


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
def test_the_value_and_the_cotangents_of_a_torch_function_are_torchs_own(put):
    a, b = put(A).requires_grad_(), put(B)
    value, pullback = as_op(torch_matmul())(a, b)
    np.testing.assert_allclose(value, A @ B, rtol=1e-15)
    assert not value.requires_grad
    assert a.grad is None
    for times in (1.0, 3.0):  # the pullback can be called again; where products cancel some eps of them are left
        da, db = pullback(put(times * C))
        np.testing.assert_allclose(da, times * C @ B.T, rtol=1e-14, atol=times * 1e-15)
        np.testing.assert_allclose(db, times * A.T @ C, rtol=1e-14, atol=times * 1e-15)


@pytest.mark.only("torch")
def test_arguments_without_gradients_are_passed_on_to_a_torch_function(put):
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
            return torch.zeros(context.shape, dtype=c.dtype).index_add(0, rows, context.factor * c), None, None, None

    x, rows, unused = put(A), put(np.asarray([2, 0, 2])), put(B)
    op = as_op(Picked)
    dx, *bound, zeros = op(x, rows, 2.5, unused)[1](put(np.ones((3, 4))))
    np.testing.assert_array_equal(dx, np.asarray([2.5, 0.0, 5.0])[:, None] * np.ones(4))
    assert bound == [None, None]
    np.testing.assert_array_equal(zeros, np.zeros_like(B))  # backward says None: no gradient, which is zero
    assert check_pullback(lambda x, unused: op(x, rows, 2.5, unused), (x, unused)).ok


@pytest.mark.only("torch")
def test_a_torch_function_works_where_gradients_are_switched_off(put):
    import torch

    with torch.no_grad():
        assert checked(torch_matmul(), put(A), put(B)).ok


@pytest.mark.only("torch")
def test_a_torch_function_of_several_outputs_is_refused_in_one_sentence(put):
    import torch

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x + 1.0, x + 2.0

        @staticmethod
        def backward(context, c, d):
            return c + d

    with pytest.raises(TypeError, match=r"^Twice must return one tensor, got a tuple of 2$"):
        as_op(Twice)(put(A))


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
def test_a_jax_custom_vjp_of_several_outputs_is_refused_in_one_sentence(put):
    import jax

    @jax.custom_vjp
    def twice(x):
        return x, x

    twice.defvjp(lambda x: ((x, x), None), lambda _, c: (c[0] + c[1],))
    with pytest.raises(TypeError, match=r"^twice must return one array, got a tuple of 2$"):
        as_op(twice)(put(A))
