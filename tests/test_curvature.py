"""Hessian and Gauss-Newton products against the autodiff of JAX and PyTorch, and by the checker on every backend."""

from __future__ import annotations

from functools import partial

import numpy as np
import peers
import pytest
import textbook
from marks import EAGER

import mlp_xp as mx
from mlp_xp import curvature
from mlp_xp.losses import CRITERIA

# the promise of the project; a dozen roundings per operation come to some 1e-14
CLOSE = 1e-12

SIZES = (4, 5, 5, 3)
SOFTMAX = "softmax_cross_entropy"
OPTIONS = {
    "plain": {},
    "l2": {"l2": 0.1},
    "l1": {"l1": 0.01},
    "smoothing": {"label_smoothing": 0.1},
    "weights": {"sample_weight": True},
    "dropout": {"dropout": 0.3, "seed": 11},
    "all": {"l2": 0.1, "l1": 0.01, "label_smoothing": 0.1, "sample_weight": True, "dropout": 0.3, "seed": 11},
}
# every activation with the first four criteria, all options on; each other criterion and each option by itself
FIRST, OTHERS = list(textbook.CRITERIA)[:4], list(textbook.CRITERIA)[4:]
CASES = [
    *((a, c, "all") for a in textbook.ACTIVATIONS for c in FIRST),
    *(("gelu", c, "all") for c in OTHERS),
    *(("gelu", SOFTMAX, o) for o in OPTIONS if o != "all"),
]


def case(put, activation, criterion, chosen, sizes=SIZES):
    """X, y, parameters, vectors and options."""
    options = {"activation": activation, "criterion": criterion, **OPTIONS[chosen]}
    if criterion != SOFTMAX:
        options.pop("label_smoothing", None)
    if options.get("sample_weight"):
        options["sample_weight"] = put(textbook.row_weights())
    y = textbook.labels(k=sizes[-1]) if criterion == SOFTMAX else textbook.soft_targets(k=sizes[-1])
    params, vectors = (
        tuple(map(put, textbook.parameters(textbook.widths_for(criterion, sizes), seed=seed))) for seed in (2, 12)
    )
    return put(textbook.batch()), put(y), params, vectors, options


def masks_of(options):
    """The dropout masks of the hidden layers, on the host."""
    rate = options.get("dropout", 0.0)
    width = SIZES[1]
    return [
        textbook.dropout_mask(textbook.N, width, rate, 11, layer) if rate else np.ones((textbook.N, width))
        for layer in (1, 2)
    ]


def assert_close(host, ours, theirs, close=CLOSE):
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert textbook.relative_error(host(a), host(b)) <= close, f"parameter {position}"


def inner(host, a, b):
    return sum(float(np.sum(host(u) * host(v))) for u, v in zip(a, b, strict=True))


# --- against autodiff ------------------------------------------------------------------------------------------------


class Peer:
    """The same objective in the other library's functions."""

    def __init__(self, backend, put, host, X, y, options):
        self.X, self.peer = X, peers.peer(backend)
        self.masks = [put(mask) for mask in masks_of(options)]
        self.options, self.activation, self.criterion = options, options["activation"], options["criterion"]
        targets, smoothing = host(y), options.get("label_smoothing", 0.0)
        if self.criterion == SOFTMAX:
            targets = (1.0 - smoothing) * np.eye(SIZES[-1])[targets] + smoothing / SIZES[-1]
        weights = options.get("sample_weight")
        weights = np.ones(textbook.N) if weights is None else host(weights)
        self.targets, self.weights = put(targets), put(weights / weights.sum())

    def logits(self, params):
        return peers.logits(self.peer, self.X, params, self.activation, self.masks)

    def loss(self, z):
        return (self.weights * peers.losses(self.peer, self.criterion, z, self.targets)).sum()

    def objective(self, params):
        penalty = peers.penalty(self.peer, params, self.options.get("l2", 0.0), self.options.get("l1", 0.0))
        return self.loss(self.logits(params)) + penalty


@pytest.mark.only("jax", "torch")
@pytest.mark.parametrize(("activation", "criterion", "chosen"), CASES)
def test_hvp_is_the_derivative_of_autodiffs_gradient(backend, put, host, activation, criterion, chosen):
    X, y, params, vectors, options = case(put, activation, criterion, chosen)
    other = Peer(backend, put, host, X, y, options)
    theirs = other.peer.hvp(other.objective, params, vectors)
    assert_close(host, mx.hvp(X, y, *params, vectors=vectors, **options), theirs)


@pytest.mark.only("jax", "torch")
@pytest.mark.parametrize(
    ("activation", "criterion", "chosen"),
    [("gelu", c, "all") for c in (*FIRST, "huber", "gaussian")]
    + [("tanh", SOFTMAX, "plain"), ("relu", SOFTMAX, "dropout")],
)
def test_ggnvp_multiplies_by_the_matrix_formed_of_jacobians(backend, put, host, activation, criterion, chosen):
    X, y, params, vectors, options = case(put, activation, criterion, chosen)
    other = Peer(backend, put, host, X, y, options)
    outputs = textbook.N * params[-1].shape[0]
    J = np.concatenate(
        [host(block).reshape(outputs, -1) for block in other.peer.jacobian(other.logits)(params)], axis=1
    )
    H = host(other.peer.hessian(other.loss)(other.logits(params))).reshape(outputs, outputs)
    product = J.T @ (H @ (J @ np.concatenate([host(v).reshape(-1) for v in vectors])))
    for position, ours in enumerate(mx.ggnvp(X, y, *params, vectors=vectors, **options)):
        size = host(ours).size
        theirs, product = product[:size].reshape(ours.shape), product[size:]
        if not position % 2:
            theirs = theirs + options.get("l2", 0.0) * host(vectors[position])
        assert textbook.relative_error(host(ours), theirs) <= CLOSE


# --- by the checker, on every backend --------------------------------------------------------------------------------


def check(put, products, activation, criterion, chosen, sizes=textbook.SIZES):
    """The checker's report of a function in the place of ``hvp``."""
    X, y, params, _, options = case(put, activation, criterion, chosen, sizes)
    return mx.check_hvp(
        lambda *at: mx.loss_and_grads(X, y, *at, **options)[1],
        lambda at, vectors: products(X, y, *at, vectors=vectors, **options),
        params,
    )


@EAGER
@pytest.mark.parametrize(
    ("activation", "criterion"),
    [("tanh", SOFTMAX), ("gelu", "sigmoid_cross_entropy"), ("elu", "squared_error"), ("silu", "poisson")],
)
def test_hvp_is_the_derivative_of_our_gradient(put, activation, criterion):
    check(put, mx.hvp, activation, criterion, "all").raise_if_failed()


@pytest.mark.only("dask", "jax")
@EAGER
def test_hvp_is_the_derivative_of_our_gradient_there_too(put):
    check(put, mx.hvp, "tanh", SOFTMAX, "l2", (4, 2, 3)).raise_if_failed()


@pytest.mark.only("dask", "array_api_strict", "cupy", "dpnp")
@pytest.mark.parametrize("product", [mx.hvp, mx.ggnvp])
@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_products_are_those_of_numpy(put, host, criterion, product):
    found = []
    for here in (put, np.asarray):
        X, y, params, vectors, options = case(here, ["silu", "elu"], criterion, "all")
        found.append(product(X, y, *params, vectors=vectors, **options))
    assert_close(host, *found)


@pytest.mark.only("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_without_hidden_layers_the_gauss_newton_matrix_is_the_hessian(put, host, criterion):
    X, y, params, vectors, options = case(put, "identity", criterion, "all", (4, 3))
    check(put, mx.ggnvp, "identity", criterion, "all", (4, 3)).raise_if_failed()
    products = (f(X, y, *params, vectors=vectors, **options) for f in (mx.hvp, mx.ggnvp))
    assert_close(host, *products)


@EAGER
def test_the_tangents_are_the_derivative_of_the_logits(put):
    X, y, params, _, options = case(put, "silu", "squared_error", "dropout")

    def forward(*at):
        return mx.forward(X, *at, **options)[0]

    def rule(at, vectors):
        at_point = curvature.point_at(X, y, tuple(at), gauss_newton=True, **options)
        return curvature.tangents(at_point, tuple(vectors))[-1]

    mx.check_jvp(forward, rule, params).raise_if_failed()


@EAGER
@pytest.mark.parametrize("criterion", [name for name in CRITERIA if CRITERIA[name].curvature])
def test_the_curvature_of_a_criterion_is_the_derivative_of_its_gradient(xp, put, criterion):
    record, t, w = CRITERIA[criterion], put(textbook.soft_targets(3, 2)), put([0.5, 0.25, 0.25])
    z = put(np.random.default_rng(8).standard_normal((3, 2 * record.outputs_per_target)))

    def grad(z):
        loss, pullback = record.loss(xp, z, t, w)
        return pullback(xp.ones_like(loss))

    mx.check_hvp(grad, lambda at, v: (record.curvature(xp, at[0], t, w)(v[0]),), (z,)).raise_if_failed()


# --- wrong second derivatives ----------------------------------------------------------------------------------------


def product_with(**wrong):
    """``hvp`` with a mistake: another field of the point, made from the right one."""

    def products(X, y, *params, vectors, **options):
        at = curvature.point_at(X, y, params, **options)
        return curvature.hessian_product(at._replace(**{name: of(at) for name, of in wrong.items()}), vectors)

    return products


def zeros(arrays):
    return [0.0 * array for array in arrays]


def without(option):
    return lambda *args, **options: mx.hvp(*args, **{**options, option: 0.0})


def without_mask_in_the_tangent(X, y, *params, vectors, **options):
    at, plain = (curvature.point_at(X, y, params, **{**options, "dropout": r}) for r in (options["dropout"], 0.0))
    return curvature.hessian_product(at._replace(slopes=plain.slopes), vectors)


MISTAKES = {
    "the curvature of the activation is forgotten": product_with(bends=lambda at: zeros(at.bends)),
    "the curvature of the network is forgotten": mx.ggnvp,
    "the tangent of the layer's input is forgotten": product_with(gradients=lambda at: zeros(at.gradients)),
    "the curvature of the loss is forgotten": product_with(bend_loss=lambda at: lambda dz: 0.0 * dz),
    "the curvature of the softmax is that of a squared error": product_with(bend_loss=lambda at: lambda dz: dz / 6.0),
    "the penalty is forgotten": without("l2"),
    "the penalty is doubled": product_with(l2=lambda at: 2.0 * at.l2),
    "the dropout mask is forgotten in the tangent": without_mask_in_the_tangent,
    "the curvature is taken without dropout": without("dropout"),
    "the sample weights are forgotten": lambda *args, **options: mx.hvp(*args, **{**options, "sample_weight": None}),
    "the smoothing is forgotten": without("label_smoothing"),
}


@pytest.mark.only("numpy", "array_api_strict")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_second_derivative_is_refused(put, mistake):
    assert check(put, MISTAKES[mistake], "tanh", SOFTMAX, "all").verdict == "fail"


# --- properties ------------------------------------------------------------------------------------------------------


@EAGER
@pytest.mark.parametrize("product", [mx.hvp, mx.ggnvp])
@pytest.mark.parametrize("criterion", textbook.CRITERIA)
def test_the_matrix_is_symmetric(put, host, product, criterion):
    X, y, params, u, options = case(put, "gelu", criterion, "all")
    Hu, Hv = (product(X, y, *params, vectors=vectors, **options) for vectors in (u, params))
    scale = np.sqrt(inner(host, params, params) * inner(host, Hu, Hu))
    assert abs(inner(host, params, Hu) - inner(host, u, Hv)) <= CLOSE * scale


@pytest.mark.only("numpy")
@pytest.mark.parametrize("criterion", FIRST)
def test_the_gauss_newton_matrix_has_no_negative_eigenvalue_where_the_hessian_has(criterion):
    X, y, params, _, options = case(lambda array: array, "tanh", criterion, "plain")
    sizes = [p.size for p in params]

    def matrix(product):
        rows = []
        for one in np.eye(sum(sizes)):
            parts = np.split(one, np.cumsum(sizes)[:-1])
            vectors = tuple(v.reshape(p.shape) for v, p in zip(parts, params, strict=True))
            rows.append(np.concatenate([a.ravel() for a in product(X, y, *params, vectors=vectors, **options)]))
        return np.linalg.eigvalsh(np.stack(rows))

    G, H = matrix(mx.ggnvp), matrix(mx.hvp)
    assert G[0] >= -CLOSE * G[-1]
    assert H[0] < -1e-3 * H[-1]


@pytest.mark.only("numpy", "cupy", "dpnp", "torch", "dask", "array_api_strict")  # JAX would compile for each new shape
@pytest.mark.parametrize("product", [mx.hvp, mx.ggnvp])
def test_products_of_k_networks_are_those_of_each(xp, put, host, product):
    X, y, _, _, options = case(put, "tanh", SOFTMAX, "all")
    members = [
        [tuple(map(put, textbook.parameters(SIZES, seed=seed))) for seed in seeds] for seeds in ((2, 3), (12, 13))
    ]
    params, vectors = ([xp.stack(list(arrays)) for arrays in zip(*each, strict=True)] for each in members)
    together = product(X, y, *params, vectors=vectors, **options)
    for member, (params, vectors) in enumerate(zip(*members, strict=True)):
        alone = product(X, y, *params, vectors=vectors, **options)
        assert_close(host, [array[member, ...] for array in together], alone)


@pytest.mark.parametrize("dtype", ["float32"])  # the other tests are in float64
@pytest.mark.parametrize("product", [mx.hvp, mx.ggnvp])
def test_products_keep_dtype_shape_and_namespace(xp, put, product, dtype):
    dtype = getattr(xp, dtype)
    X, y, params, vectors, options = case(partial(_as, put, dtype), "elu", SOFTMAX, "all")
    for found, param in zip(product(X, y, *params, vectors=vectors, **options), params, strict=True):
        assert (type(found), found.dtype, found.shape) == (type(param), dtype, param.shape)


def _as(put, dtype, array):
    return put(array, dtype if array.dtype.kind == "f" else None)


@pytest.mark.only("torch", "jax", "dask", "array_api_strict")
@pytest.mark.parametrize("product", [mx.hvp, mx.ggnvp])
def test_a_label_out_of_range_gives_no_plausible_product(put, host, product):
    X, _, params, vectors, options = case(put, "tanh", SOFTMAX, "plain")
    y = put([0, 1, 2, 3, 0, 1])
    assert all(np.all(np.isnan(host(a))) for a in product(X, y, *params, vectors=vectors, **options))


# --- an activation and a criterion of the caller's own ---------------------------------------------------------------


def own_tanh():
    def own(z):
        value, pullback = mx.ops.tanh(z)
        return value, pullback

    return own


def own_squares():
    def own(logits, targets, weights):
        return mx.losses.squared_error(logits, targets, weights)

    return own


@pytest.mark.parametrize("product", [mx.hvp, mx.ggnvp])
def test_an_op_of_ones_own_gives_its_second_derivative_as_an_attribute(xp, put, host, product):
    X, y, params, vectors, _ = case(put, "tanh", "squared_error", "plain")
    activation, criterion = own_tanh(), own_squares()
    activation.curvature = lambda z: -2.0 * xp.tanh(z) * (1.0 - xp.tanh(z) ** 2)
    criterion.curvature = lambda logits, targets, weights: lambda dz: weights[:, None] * dz
    ours = product(X, y, *params, vectors=vectors, activation=activation, criterion=criterion)
    named = product(X, y, *params, vectors=vectors, activation="tanh", criterion="squared_error")
    assert_close(host, ours, named)


# --- transforms ------------------------------------------------------------------------------------------------------


def everything(options, X, y, params, vectors, seed):
    options = {**options, "seed": seed}
    return (
        *mx.hvp(X, y, *params, vectors=vectors, **options),
        *mx.ggnvp(X, y, *params, vectors=vectors, **options),
    )


@pytest.mark.only("jax")
def test_jax_jit_of_products(put, host):
    import jax

    *arrays, options = case(put, "gelu", SOFTMAX, "all")
    seed = options.pop("seed")
    compiled = jax.jit(partial(everything, options))
    assert_close(host, compiled(*arrays, seed), everything(options, *arrays, seed))


@pytest.mark.only("torch")
# the compiler warns of its own deprecated code, and of the lru_cache in array_api_compat, which it ignores
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning"
)
def test_torch_compile_of_products_has_no_graph_break(put, host):
    import torch

    *arrays, options = case(put, "gelu", SOFTMAX, "all")
    seed = options.pop("seed")
    # the test is about the graph; aot_eager runs it without a C++ compiler
    compiled = torch.compile(partial(everything, options), fullgraph=True, backend="aot_eager")
    assert_close(host, compiled(*arrays, seed), everything(options, *arrays, seed))


@pytest.mark.only("dask")
def test_dask_computes_no_product_while_the_graph_is_built(put):
    import dask

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed while the graph was built")

    *arrays, options = case(put, "gelu", SOFTMAX, "all")
    seed = options.pop("seed")
    with dask.config.set(scheduler=refuse):
        everything(options, *arrays, seed)
