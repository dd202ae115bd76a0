"""ONNX: onnxruntime computes of a row what the network computes."""

from __future__ import annotations

import sys

import array_api_strict as strict
import numpy as np
import onnx
import onnxruntime
import pytest
import textbook
from sklearn.datasets import load_iris

import mlp_xp as mx
from mlp_xp.estimators import MLPClassifier, MLPRegressor
from mlp_xp.export import to_onnx

NAMES = list(textbook.ACTIVATIONS)


def run(model, X):
    """The outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model if isinstance(model, str) else model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape) == ("X", ["N", X.shape[1]])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, {"X": X}), strict=True))


def check(params, model=None, scale=1.0, **options):
    """Equal to ``predict_proba`` and ``predict``, on one row and on many, in the dtype of the parameters.

    Two ways to round some ten operations differ by a few eps; exp multiplies that by the ``scale`` of the logits.
    """
    model = to_onnx(None, *params, **options) if model is None else model
    dtype = params[0].dtype
    close = 16 * np.finfo(dtype).eps * scale
    for n in (1, 1000):
        X = np.random.default_rng(n).standard_normal((n, params[0].shape[0])).astype(dtype)
        outputs, expected = run(model, X), mx.predict(X, *params, **options)
        if "output" in outputs:
            assert outputs["output"].dtype == dtype
            np.testing.assert_allclose(outputs["output"], expected, rtol=close, atol=close)
            assert list(outputs) == ["output"]
            continue
        probabilities = mx.predict_proba(X, *params, **options)
        assert outputs["probabilities"].dtype == dtype
        np.testing.assert_allclose(outputs["probabilities"], probabilities, rtol=0, atol=close)
        # none of these rows is a tie, which float32 could round to the other side
        np.testing.assert_array_equal(outputs["label"], expected)
        assert list(outputs) == ["probabilities", "label"]


def parameters(*sizes, dtype=np.float64):
    return tuple(p.astype(dtype) for p in textbook.parameters(sizes))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("names", [NAMES[:3], NAMES[3:6], NAMES[6:]])
def test_every_activation(names, dtype):
    check(parameters(4, 5, 6, 5, 3, dtype=dtype), activation=names)


@pytest.mark.parametrize(
    ("criterion", "k"),
    [
        ("softmax_cross_entropy", 2),
        ("sigmoid_cross_entropy", 1),
        ("sigmoid_cross_entropy", 3),
        ("squared_error", 1),
        ("poisson", 2),
        ("absolute_error", 1),
        ("huber", 2),
    ],
)
def test_every_criterion(criterion, k):
    check(parameters(4, 5, k, dtype=np.float32), criterion=criterion)


@pytest.mark.parametrize("sizes", [(4, 3), (4, 5, 5, 3), (1, 1, 2)])
def test_other_depths_and_widths(sizes):
    check(parameters(*sizes), activation="relu")


def test_ops_of_the_callers_own():
    def square(z):
        return z * z, lambda dy: (2.0 * z * dy,)

    check(parameters(4, 5, 3), activation=square, criterion=mx.losses.softmax_cross_entropy)


def test_logits_of_any_magnitude():
    params = parameters(4, 5, 3)
    large = (*params[:2], 1e4 * params[2], params[3])
    check(large, activation="tanh", scale=1e4)


@pytest.mark.parametrize(
    ("k", "criterion", "classes"),
    [
        (3, "softmax_cross_entropy", ["cat", "dog", "ox, or Kühe"]),
        (3, "softmax_cross_entropy", np.asarray([10, 20, -5])),
        (3, "softmax_cross_entropy", np.asarray(["a", "b", "c"], dtype=object)),
        (1, "sigmoid_cross_entropy", ["no", "yes"]),
        (1, "sigmoid_cross_entropy", [-1, 1]),
    ],
)
def test_labels_are_the_classes(k, criterion, classes):
    params, X = parameters(4, k), 3.0 * textbook.batch(50)
    outputs = run(to_onnx(None, *params, criterion=criterion, classes=classes), X)
    expected = [classes[position] for position in mx.predict(X, *params, criterion=criterion)]
    assert outputs["label"].tolist() == expected
    assert len(set(expected)) > 1


def test_the_file_is_the_model_and_names_its_producer(tmp_path):
    path = tmp_path / "model.onnx"
    params = parameters(4, 5, 3)
    model = to_onnx(path, *params)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert onnx.load(path) == model
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    assert (model.producer_name, model.producer_version) == ("mlp_xp", mx.__version__)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"mlp_xp": mx.__version__}
    assert run(str(path), textbook.batch())["label"].tolist() == mx.predict(textbook.batch(), *params).tolist()


def test_parameters_of_another_library():
    params = parameters(4, 5, 3)
    device = strict.Device("device1")
    check(params, model=to_onnx(None, *(strict.asarray(p, device=device) for p in params)))


# --- what is refused ---------------------------------------------------------------------------------------------


def test_an_op_that_leaves_the_array_api(tmp_path):
    def by_hand(z):
        return np.asarray([[float(value) for value in row] for row in z]), lambda dy: (dy,)

    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=r"^this network can't be put down as ONNX: \w+: .+$") as caught:
        to_onnx(path, *parameters(4, 5, 3), activation=by_hand)
    assert "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize(
    ("sizes", "options", "said"),
    [
        ((4, 5, 3), {"classes": ["a", "b"]}, r"classes must have shape \(3,\), one for each, got \(2,\)"),
        ((4, 5, 3), {"classes": [None, "b", "c"]}, "classes must be numbers or strings, got object"),
        ((4, 3), {"classes": list("abc"), "criterion": "squared_error"}, "classes name what a softmax or a single"),
        ((4, 3), {"classes": list("ab"), "criterion": "sigmoid_cross_entropy"}, "classes name what a softmax or"),
        ((4, 3), {"criterion": "mse"}, "criterion must be .*, got 'mse'"),
        ((4, 5, 3), {"activation": "rleu"}, "activation must be .* did you mean 'relu'"),
    ],
)
def test_bad_arguments(sizes, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        to_onnx(None, *parameters(*sizes), **options)


def test_several_networks_are_no_model():
    with pytest.raises(ValueError, match=r"an ONNX model is one network, got parameters with a leading axis, \[\(2, 4"):
        to_onnx(None, *(np.stack([p, p]) for p in parameters(4, 5, 3)))


def test_parameters_that_do_not_chain():
    params = parameters(4, 5, 3)
    with pytest.raises(ValueError, match=r"W2 must have shape \(5, d_out\)"):
        to_onnx(None, *params[:2], params[2].T, params[3])


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match=f"^{tmp_path}/none/a.onnx can't be written: No such file or directory$"):
        to_onnx(tmp_path / "none" / "a.onnx", *parameters(4, 3))


def test_without_ndonnx_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"made with ndonnx: pip install 'mlp_xp\[onnx\]'"):
        to_onnx(None, *parameters(4, 3))


IRIS = load_iris(return_X_y=True)[1]

# name -> targets of each kind
TARGETS = {
    "three classes": IRIS,
    "three classes of names": np.asarray(["setosa", "versicolor", "virginica"])[IRIS],
    "three classes of objects": np.asarray(["setosa", "versicolor", "virginica"], dtype=object)[IRIS],
    "classes of small integers": (10 * IRIS).astype(np.uint8),
    "classes of whole floats": 1.0 + IRIS,
    "two classes": IRIS % 2,
    "two classes of names": np.asarray(["no", "yes"])[IRIS % 2],
    "yes and no": IRIS == 1,
    "minus one and one": 2 * (IRIS % 2) - 1,
    "one class": np.full(150, 7),
    "one class of a name": np.full(150, "only"),
    "several labels": np.stack([IRIS > 0, IRIS > 1], axis=1).astype(int),
    "masks": 255 * np.stack([IRIS > 0, IRIS > 1], axis=1).astype(np.uint8),
    "probabilities": 0.8 * np.eye(3)[IRIS] + 0.2 / 3,
    "probabilities of two classes": 0.8 * np.eye(2)[IRIS % 2] + 0.1,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("targets", "dtype"), [*((name, np.float32) for name in TARGETS), ("two classes", np.float64)])
def test_a_classifiers_model_gives_what_predict_proba_and_predict_give(targets, dtype):
    X, y = load_iris(return_X_y=True)[0].astype(dtype), TARGETS[targets]
    model = MLPClassifier((), max_iter=20, learning_rate_init=0.05, random_state=0).fit(X, y)
    exported = model.to_onnx()
    for rows in (slice(0, 1), slice(40, 47), slice(None)):
        outputs = run(exported, X[rows])
        assert list(outputs) == ["probabilities", "label"]
        for name, expected in (("probabilities", model.predict_proba(X[rows])), ("label", model.predict(X[rows]))):
            assert outputs[name].shape == expected.shape
            if expected.dtype.kind == "U":
                assert outputs[name].tolist() == expected.tolist()
                continue
            assert outputs[name].dtype == expected.dtype
            # logits of some ten units: exp multiplies the few eps between two ways to round
            np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=256 * np.finfo(dtype).eps)
        if "label" in targets or targets == "masks":
            continue
        named = model.classes_[outputs["probabilities"].argmax(axis=1)]
        assert named.tolist() == outputs["label"].tolist()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("loss", "k"), [("squared_error", None), ("squared_error", 2), ("poisson", 1)])
def test_a_regressors_model_gives_what_predict_gives(k, loss):
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = np.random.default_rng(1).poisson(2.0, size=(40,) if k is None else (40, k)).astype(float)
    model = MLPRegressor(loss, 5, max_iter=20, random_state=0)
    model.fit(X, y[:, 0] if k == 1 else y)
    exported = model.to_onnx()
    for rows in (slice(0, 1), slice(0, 7), slice(None)):
        (output,) = run(exported, X[rows]).values()
        assert output.shape == model.predict(X[rows]).shape
        np.testing.assert_allclose(output, model.predict(X[rows]), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", "gaussian"])
def test_a_regressors_model_has_an_output_for_each_method(loss, k):
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.random.default_rng(1).normal(size=(40, k))
    model = MLPRegressor(loss, 5, quantile=(0.1, 0.6, 0.8), max_iter=3, random_state=0)
    model.fit(X, y[:, 0] if k == 1 else y)
    expected = {"output": model.predict(X[:7])}
    if loss == "gaussian":
        expected["std"] = model.predict(X[:7], return_std=True)[1]
    if loss == "quantile":
        expected["quantiles"] = model.predict_quantiles(X[:7])
    outputs = run(model.to_onnx(), X[:7])
    assert set(outputs) == set(expected)
    for name, array in expected.items():
        assert outputs[name].shape == array.shape
        np.testing.assert_allclose(outputs[name], array, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("criterion", ["gaussian", mx.losses.quantile(0.1, 0.9)], ids=str)
def test_several_outputs_for_a_target_are_exported_beside_the_prediction(criterion):
    params, X = parameters(4, 5, 6), np.random.default_rng(0).normal(size=(7, 4))
    outputs = run(to_onnx(None, *params, criterion=criterion), X)
    np.testing.assert_allclose(outputs["output"], mx.predict(X, *params, criterion=criterion), rtol=1e-12)
    np.testing.assert_allclose(outputs["outputs"], mx.forward(X, *params, criterion=criterion)[0], rtol=1e-12)
