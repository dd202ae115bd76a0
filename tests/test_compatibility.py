"""What worked in version 0.1.0 works: import paths, names, pickles. Names that moved warn and say where they are."""

from __future__ import annotations

import base64
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import mlp_xp as mx
from mlp_xp import ops, optim
from mlp_xp._lib.moved import MODULES
from mlp_xp.train import Epoch, Record

pytestmark = pytest.mark.only("numpy")

# the modules of 0.1.0 whose names were documented, and these names
NAMES = {
    "mlp_xp": """
        backward check_gradients check_hvp check_pullback cross_entropy forward gradcheck hypotheses init_params
        loss_and_grads losses numerical_grad objective ops predict predict_proba Report sigmoid softmax step_cost
        StepCost TensorReport train_step
    """,
    "mlp_xp.backends": """
        Backend BACKENDS Choice choose compiler DTYPES fastest installed load measure Place probe Timing to_host
    """,
    "mlp_xp.checkpoint": "fingerprint load save saver",
    "mlp_xp.cli": "commands main",
    "mlp_xp.cost": "DTYPES step_cost StepCost",
    "mlp_xp.data": "BUILT_IN Chunk hold_out KINDS open_data Source TABLES",
    "mlp_xp.estimators": "load LossCurveDisplay MLPClassifier MLPRegressor WeightsDisplay",
    "mlp_xp.export": "to_onnx",
    "mlp_xp.gradcheck": "check_hvp check_pullback gradcheck numerical_grad Report TensorReport",
    "mlp_xp.gradcheck.adapters": "as_op value_and_grad",
    "mlp_xp.losses": """
        CRITERIA cross_entropy exp_and_total poisson sigmoid sigmoid_cross_entropy softmax softmax_cross_entropy
        squared_error targets_and_weights
    """,
    "mlp_xp.metrics": "accuracy r2",
    "mlp_xp.mistakes": "check_gradients Gradient hypotheses weak_probes",
    "mlp_xp.mlp": """
        backward Cache forward init_params loss_and_grads objective Options predict predict_proba PredictOptions
        train_step TrainOptions
    """,
    "mlp_xp.ops": """
        ACTIVATIONS affine elu gelu identity leaky_relu log1p_exp logistic public relu Rule sigmoid silu Slope softplus
        tanh
    """,
    "mlp_xp.optim": """
        adam adamw clip_by_global_norm lbfgs momentum nesterov Optimizer OPTIMIZERS rmsprop sgd State sum_of_squares
    """,
    "mlp_xp.plots": "draw_best draw_line draw_losses draw_weights label_epochs save TRAINING VALIDATION",
    "mlp_xp.pytest_plugin": "check_pullback gradcheck",
    "mlp_xp.recipe": "infer_task learn plain_recipe Recipe tidy",
    "mlp_xp.schedules": """
        adaptive check_patience constant cosine idle inverse_scaling Progress Schedule stalls step_decay warm_up
    """,
    "mlp_xp.tables": "as_numbers check_named Column encode from_openml learn_columns open_table",
    "mlp_xp.train": "check_values Diverged Epoch Interrupted is_sparse judge Record rows_of train",
}

# the other modules of 0.1.0 without an underscore in their path: files of a package, which can still be imported
_FILES = """
cli.backends cli.completion cli.cost cli.evaluate cli.export cli.gradcheck cli.inspect cli.predict cli.train
estimators.base estimators.classifier estimators.data estimators.displays estimators.files estimators.regressor
estimators.reporting
gradcheck.check gradcheck.contract gradcheck.derivatives gradcheck.diagnosis gradcheck.differences gradcheck.directional
gradcheck.dual gradcheck.entries gradcheck.locate gradcheck.noise gradcheck.probes gradcheck.problem gradcheck.products
gradcheck.report gradcheck.sizes gradcheck.tree gradcheck.verdict gradcheck.weak
"""
FILES = _FILES.split()


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.filterwarnings("ignore:mlp_xp:DeprecationWarning")
def test_every_documented_name_is_found_where_it_was(module):
    found = importlib.import_module(module)
    gone = [name for name in NAMES[module].split() if not hasattr(found, name)]
    assert not gone, f"{module} has no {', '.join(gone)} any more"


@pytest.mark.parametrize("module", FILES)
@pytest.mark.filterwarnings("ignore:mlp_xp:DeprecationWarning")
def test_every_module_can_be_imported_where_it_was(module):
    assert importlib.import_module(f"mlp_xp.{module}").__name__ == f"mlp_xp.{module}"


@pytest.mark.parametrize("old", MODULES)
def test_a_module_that_moved_warns_and_hands_on_the_same_objects(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)  # the warning comes with the first import
    with pytest.warns(DeprecationWarning, match=f"^{old} is now {MODULES[old]}$"):
        there = importlib.import_module(old)
    new = importlib.import_module(MODULES[old])
    names = [name for name in vars(new) if not name.startswith("__")]
    assert len(names) > 3
    assert all(getattr(there, name) is getattr(new, name) for name in names)


def test_every_name_of_the_package_is_found_in_a_fresh_interpreter():
    """In its own words, ``mx.NAME``, in either order: a module that is found late must not hide a function."""
    modules = [name.removeprefix("mlp_xp.") for name in NAMES if name.count(".") == 1]
    names = [*NAMES["mlp_xp"].split(), *(name for name in modules if name not in ("cli", "pytest_plugin", "gradcheck"))]
    assert {"estimators", "metrics"} < set(names)
    program = f"import mlp_xp as mx; [getattr(mx, name) for name in {names}]; print(mx.gradcheck.__name__)"
    for order in (names, names[::-1]):
        command = [sys.executable, "-c", program.replace(str(names), str(order))]
        assert subprocess.check_output(command, cwd=Path(mx.__file__).parents[1], text=True) == "gradcheck\n"


def test_a_function_that_calls_the_package_can_be_pickled_by_cloudpickle():
    def step(X, y, *params):
        return mx.train_step(X, y, *params, lr=0.5)

    def check(f, grad, params):
        return mx.gradcheck(f, grad, params).verdict

    X, y, params = np.eye(4), np.arange(4), mx.init_params((4, 3, 4))
    again = pickle.loads(cloudpickle.dumps(step))
    assert float(again(X, y, *params)[0]) == float(step(X, y, *params)[0])
    check = pickle.loads(cloudpickle.dumps(check))
    assert check(lambda x: np.sum(x**2), lambda x: (2 * x,), (np.ones(3),)) == "pass"
    assert check(lambda x: np.sum(x**2), lambda x: (3 * x,), (np.ones(3),)) == "fail"


OBJECTS = {
    "an optimizer": mx.optim.adamw(),
    "a schedule": mx.schedules.warm_up(mx.schedules.cosine(0.1), 3),
    "an adaptive schedule": mx.schedules.adaptive(0.1),
    "a criterion": mx.losses.huber(0.5),
    "an activation": mx.ops.gelu,
    "settings": mx.train.Settings(3, mx.optim.adam(), mx.schedules.cosine(0.1), callbacks=(print,), seed=1),
    "an estimator": mx.estimators.MLPClassifier((4,), solver="sgd", learning_rate=mx.schedules.cosine(0.1)),
    "the function that trains": mx.train.train,
    "the gradient checker": mx.gradcheck,
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_a_task_on_another_machine_is_given_can_be_pickled(name):
    thing = OBJECTS[name]
    for again in (pickle.loads(pickle.dumps(thing)), cloudpickle.loads(cloudpickle.dumps(lambda: thing))()):
        assert type(again) is type(thing)
        assert repr(again) == repr(thing)


EPOCH = Epoch(
    (Record(1, 0.5, 0.25, 0.75, 0.9, 0.01, 3, 1.5),),
    (np.asarray([[1.0, -2.0]]), np.asarray([0.5, 0.0])),
    (np.asarray([[0.0, 3.0]]), np.asarray([1.0, 1.0])),
    (),
)

# EPOCH, pickled by version 0.1.0, whose mlp_xp.train was a file
PICKLED = """
gASVmAEAAAAAAACMDG1scF94cC50cmFpbpSMBUVwb2NolJOUKGgAjAZSZWNvcmSUk5QoSwFHP+AAAAAAAABHP9AAAAAAAABHP+gAAAAAAABHP+zM
zMzMzM1HP4R64UeuFHtLA0c/+AAAAAAAAHSUgZSFlIwWbnVtcHkuX2NvcmUubXVsdGlhcnJheZSMDF9yZWNvbnN0cnVjdJSTlIwFbnVtcHmUjAdu
ZGFycmF5lJOUSwCFlEMBYpSHlFKUKEsBSwFLAoaUaAuMBWR0eXBllJOUjAJmOJSJiIeUUpQoSwOMATyUTk5OSv////9K/////0sAdJRiiUMQAAAA
AAAA8D8AAAAAAAAAwJR0lGJoCmgNSwCFlGgPh5RSlChLAUsChZRoF4lDEAAAAAAAAOA/AAAAAAAAAACUdJRihpRoCmgNSwCFlGgPh5RSlChLAUsB
SwKGlGgXiUMQAAAAAAAAAAAAAAAAAAAIQJR0lGJoCmgNSwCFlGgPh5RSlChLAUsChZRoF4lDEAAAAAAAAPA/AAAAAAAA8D+UdJRihpQpdJSBlC4=
"""


@pytest.mark.parametrize("data", [base64.b64decode(PICKLED), pickle.dumps(EPOCH)], ids=["of 0.1.0", "of today"])
def test_a_pickled_epoch_is_the_epoch(data):
    epoch = pickle.loads(data)
    assert type(epoch) is Epoch
    assert type(epoch.last) is Record
    assert (epoch.history, epoch.state) == (EPOCH.history, EPOCH.state)
    for ours, theirs in zip((*epoch.params, *epoch.best), (*EPOCH.params, *EPOCH.best), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ops.ACTIVATIONS)
def test_a_pickled_activation_is_the_activation(name):
    op = getattr(ops, name)
    assert pickle.loads(pickle.dumps(op)) is op
    X, params = np.eye(4), mx.init_params((4, 3, 4))
    p, _ = mx.forward(X, *params, activation=pickle.loads(pickle.dumps(op)))
    np.testing.assert_array_equal(p, mx.forward(X, *params, activation=name)[0])


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_an_optimizer_is_a_pair_of_init_and_update(name):
    init, update = optim.OPTIMIZERS[name]()
    params, grads = (np.eye(2),), (np.ones((2, 2)),)
    (after,), _ = update(params, grads, init(params), 0.1)
    assert np.all(after < params[0])
