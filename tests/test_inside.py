"""Hidden activations, and the derivatives of outputs by inputs: closed forms, complex steps, autodiff, the checker."""

from __future__ import annotations

import numpy as np
import pytest
import textbook

import mlp_xp as mx
from mlp_xp.losses import CRITERIA

# a dozen roundings per operation come to some 1e-14
CLOSE = 1e-12

SIZES = (4, 5, 6, 3)

# logits (n, k) -> outputs (n, k), of numbers that may be complex
OUTPUTS = {
    "softmax_cross_entropy": lambda z: np.exp(z) / np.sum(np.exp(z), -1, keepdims=True),
    "sigmoid_cross_entropy": lambda z: 1.0 / (1.0 + np.exp(-z)),
    "squared_error": lambda z: z,
    "poisson": np.exp,
}


def derivatives(X, params, output, activation, outputs):
    """``d output / d X`` of each row, (n, d_in), by complex steps: each row depends on its own inputs alone."""
    columns = []
    for column in range(X.shape[1]):
        moved = X.astype(complex)
        moved[:, column] += 1j * textbook.STEP
        z = textbook.logits(moved, *params, activation=activation)
        columns.append(outputs(z)[:, output].imag / textbook.STEP)
    return np.stack(columns, axis=1)


# --- hidden activations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "position"), [(1, 1), (2, 2), (-1, 2), (-2, 1)])
def test_a_hidden_layer_is_the_textbooks(put, host, layer, position):
    X, params, names = textbook.batch(), textbook.parameters(SIZES), ["tanh", "relu"]
    a = X
    for number in range(position):
        a = textbook.ACTIVATIONS[names[number]](a @ params[2 * number] + params[2 * number + 1])
    ours = mx.hidden(put(X), *map(put, params), layer=layer, activation=names)
    np.testing.assert_allclose(host(ours), a, rtol=0, atol=CLOSE)


def test_the_rest_of_the_network_makes_its_outputs_of_the_last_hidden_layer(put, host):
    X, params = put(textbook.batch()), [put(p) for p in textbook.parameters(SIZES)]
    rest = mx.predict_proba(mx.hidden(X, *params, activation="gelu"), *params[-2:])
    np.testing.assert_allclose(host(rest), host(mx.predict_proba(X, *params, activation="gelu")), rtol=CLOSE)


# --- derivatives of outputs by inputs ------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", OUTPUTS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("output", [0, -1])
def test_the_derivative_by_the_inputs_is_that_of_a_complex_step(put, host, activation, criterion, output):
    X, params = textbook.batch(), textbook.parameters(SIZES)
    ours = mx.input_gradients(put(X), *map(put, params), output=output, activation=activation, criterion=criterion)
    theirs = derivatives(X, params, output, activation, OUTPUTS[criterion])
    assert textbook.relative_error(host(ours), theirs) <= CLOSE


def test_of_a_network_without_hidden_layers_it_is_the_weight(put, host):
    X, (W, b) = textbook.batch(), textbook.parameters((4, 3))
    ours = mx.input_gradients(put(X), put(W), put(b), output=1, criterion="squared_error")
    np.testing.assert_array_equal(host(ours), np.tile(W[:, 1], (6, 1)))


@pytest.mark.only("numpy")
def test_every_criterion_has_outputs_that_can_be_differentiated():
    X = textbook.batch()
    for name in CRITERIA:
        sizes = textbook.widths_for(name, SIZES)
        params = textbook.parameters(sizes)
        for output in range(sizes[-1]):

            def value(X, name=name, output=output, params=params):
                outputs, _ = mx.forward(X, *params, activation="tanh", criterion=name)
                return np.sum(outputs[:, output])

            def slopes(X, name=name, output=output, params=params):
                return (mx.input_gradients(X, *params, output=output, activation="tanh", criterion=name),)

            assert mx.gradcheck(value, slopes, (X,)).verdict == "pass", (name, output)


def test_this_librarys_checker_passes_it(xp, put):
    X, params = put(textbook.batch(2)), [put(p) for p in textbook.parameters()]
    report = mx.gradcheck(
        lambda X: xp.sum(mx.predict_proba(X, *params, activation="silu")[:, 1]),
        lambda X: (mx.input_gradients(X, *params, output=1, activation="silu"),),
        (X,),
    )
    assert report.verdict == "pass"


@pytest.mark.only("numpy")
def test_this_librarys_checker_refuses_the_derivative_of_another_output():
    X, params = textbook.batch(), textbook.parameters(SIZES)
    report = mx.gradcheck(
        lambda X: np.sum(mx.predict_proba(X, *params)[:, 1]),
        lambda X: (mx.input_gradients(X, *params, output=2),),
        (X,),
    )
    assert report.verdict == "fail"


@pytest.mark.only("torch", "jax")
@pytest.mark.parametrize("criterion", OUTPUTS)
def test_autodiff_of_another_implementation_agrees(backend, put, host, criterion):
    X, params = put(textbook.batch()), [put(p) for p in textbook.parameters(SIZES)]
    ours = host(mx.input_gradients(X, *params, output=2, activation="gelu", criterion=criterion))
    W1, b1, W2, b2, W3, b3 = params
    if backend == "torch":
        import torch
        from torch.nn import functional

        outputs = {"softmax": lambda z: torch.softmax(z, -1), "sigmoid": torch.sigmoid, "poisson": torch.exp}
        X = X.clone().requires_grad_()
        z = functional.gelu(functional.gelu(X @ W1 + b1) @ W2 + b2) @ W3 + b3
        made = outputs.get(criterion.partition("_")[0], lambda z: z)(z)
        (theirs,) = torch.autograd.grad(made[:, 2].sum(), X)
    else:
        import jax

        outputs = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid, "poisson": jax.numpy.exp}

        def total(X):
            a = jax.nn.gelu(X @ W1 + b1, approximate=False)
            z = jax.nn.gelu(a @ W2 + b2, approximate=False) @ W3 + b3
            return outputs.get(criterion.partition("_")[0], lambda z: z)(z)[:, 2].sum()

        theirs = jax.jit(jax.grad(total))(X)
    assert textbook.relative_error(ours, host(theirs)) <= CLOSE


def test_where_the_network_is_sure_the_derivative_is_small_and_exact(put, host):
    """``1 - p`` rounds to 0 where p is 1 - 1e-17: the derivative must not."""
    X, W, b = np.ones((1, 1)), np.asarray([[40.0, 0.0]]), np.zeros(2)
    expected = 40.0 / np.cosh(20.0) ** 2 / 4.0  # p (1 - p) (w1 - w2), p the sigmoid of 40
    softmax = mx.input_gradients(put(X), put(W), put(b), output=0)
    np.testing.assert_allclose(host(softmax), [[expected]], rtol=CLOSE)
    sigmoid = mx.input_gradients(put(X), put(W[:, :1]), put(b[:1]), criterion="sigmoid_cross_entropy")
    np.testing.assert_allclose(host(sigmoid), [[expected]], rtol=CLOSE)


# --- both ------------------------------------------------------------------------------------------------------------


def test_k_networks_in_one_call_are_k_networks_one_by_one(xp, put, host):
    X = put(textbook.batch())
    each = [[put(p) for p in textbook.parameters(SIZES, seed)] for seed in (2, 7)]
    together = [xp.stack(list(params)) for params in zip(*each, strict=True)]
    for function in (mx.hidden, lambda *args: mx.input_gradients(*args, output=1)):
        ours = host(function(X, *together))
        for number, params in enumerate(each):
            np.testing.assert_allclose(ours[number], host(function(X, *params)), rtol=CLOSE, atol=1e-15)
    mixed = [*together[:4], *each[0][4:]]  # only some have a leading axis
    ours = host(mx.input_gradients(X, *mixed, output=1))
    theirs = host(mx.input_gradients(X, *each[1][:4], *each[0][4:], output=1))
    np.testing.assert_allclose(ours[1], theirs, rtol=CLOSE, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_namespace_and_device_are_those_of_the_input(xp, put, dtype):
    X, *params = (put(a, getattr(xp, dtype)) for a in (textbook.batch(), *textbook.parameters((4, 6, 2))))
    for made in (mx.hidden(X, *params), *(mx.input_gradients(X, *params, output=0, criterion=c) for c in CRITERIA)):
        assert made.dtype == X.dtype
        assert getattr(made, "device", None) == getattr(X, "device", None)


@pytest.mark.only("jax")
def test_both_can_be_compiled(put, host):
    import jax

    X, params = put(textbook.batch()), [put(p) for p in textbook.parameters()]
    for function in (mx.hidden, lambda *args: mx.input_gradients(*args, output=1)):
        compiled = host(jax.jit(function)(X, *params))
        np.testing.assert_allclose(compiled, host(function(X, *params)), rtol=CLOSE, atol=1e-15)
