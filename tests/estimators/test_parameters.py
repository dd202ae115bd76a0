"""The table of parameters, and all that follows from it."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from importlib import import_module

import cloudpickle
import numpy as np
import pytest
from estimator_problems import iris
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.externals._numpydoc.docscrape import NumpyDocString

from mlp_xp import parameters
from mlp_xp.estimators import PRESETS, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.only("numpy")
def test_parameters_and_defaults_are_scikit_learns_and_more():
    for ours, sklearns in ((MLPClassifier, theirs.MLPClassifier), (MLPRegressor, theirs.MLPRegressor)):
        mine, its = ours().get_params(), sklearns().get_params()
        assert {name: mine[name] for name in its} == its
        assert set(mine) > set(its)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden_layer_sizes": -1}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be > 0, got"),
        ({"early_stopping": True, "validation_fraction": 0.0}, "must leave rows on both sides, got 0.0 of 150 rows"),
        (
            {"early_stopping": True, "validation_fraction": 0.999},
            "must leave rows on both sides, got 0.999 of 150 rows",
        ),
        ({"hidden_layer_sizes": (5, True)}, r"hidden_layer_sizes must be whole numbers, got \[5, True\]"),
        ({"hidden_layer_sizes": np.asarray(5)}, r"hidden_layer_sizes must be whole numbers, got \[array\(5\)\]"),
        ({"hidden_layer_sizes": (2.5,)}, r"hidden_layer_sizes must be whole numbers, got \[2.5\]"),
        ({"class_weight": {0: -1.0, 1: 1.0, 2: 1.0}}, r"class_weight\[0\] must be at least 0 and finite, got -1"),
        ({"activation": "rellu"}, "activation"),
        ({"solver": "newton"}, "solver"),
        ({"dropout": 1.0}, "dropout"),
        ({"input_dropout": 1.0}, "'input_dropout' parameter of MLPClassifier must be a float in the range"),
        ({"max_norm": 0.0}, "'max_norm' parameter of MLPClassifier must be None or a float in the range"),
        ({"learning_rate": "cosin"}, "learning_rate"),
        ({"alpha": -1}, "alpha"),
        ({"accumulate": 0}, r"'accumulate' parameter of MLPClassifier must be an int in the range \[1, inf\). Got 0"),
        (
            {"accumulate": 1.5},
            r"'accumulate' parameter of MLPClassifier must be an int in the range \[1, inf\). Got 1.5",
        ),
        ({"solver": "lbfgs", "dropout": 0.5}, "^dropout needs a stochastic solver"),
        ({"solver": "lbfgs", "input_dropout": 0.5}, "^input_dropout needs a stochastic solver: lbfgs can't minimise a"),
        ({"solver": "newton-cg", "max_norm": 1.0}, "^max_norm needs a stochastic solver: newton-cg minimises without"),
        ({"activation": ["relu", "tanh"]}, "one per hidden layer"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "validation set is too small"),
    ],
)
def test_bad_parameters_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        MLPClassifier(max_iter=2, **options).fit(*iris())


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("value", [True, np.True_, np.asarray(True)], ids=repr)
def test_true_is_no_number(kind, value):
    flags = {name for name, default in kind().get_params().items() if isinstance(default, bool)}
    lists = {"hidden_layer_sizes", "quantile"} if isinstance(value, np.ndarray) else set()  # fit looks inside
    for name in kind().get_params().keys() - flags - lists - {"compile", "standardise"}:
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            kind(**{name: value})._validate_params()


@pytest.mark.only("numpy")
def test_dropout_of_inputs_and_the_constraint_are_those_of_the_loop():
    X, y = iris()
    options = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "learning_rate_init": 0.05}
    limited = MLPClassifier(max_norm=0.7, **options).fit(X, y)
    assert np.linalg.norm(limited.coefs_[0], axis=0).max() <= 0.7 * (1 + 1e-15)
    assert np.linalg.norm(MLPClassifier(**options).fit(X, y).coefs_[0], axis=0).max() > 0.7
    dropped = [MLPClassifier(input_dropout=0.5, **options | {"random_state": seed}).fit(X, y) for seed in (0, 0, 1)]
    losses = [each.loss_ for each in dropped]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] != limited.loss_


# --- one table -------------------------------------------------------------------------------------------------------

OWNERS = {MLPClassifier: parameters.ClassifierParameters, MLPRegressor: parameters.RegressorParameters}


def documented(kind):
    """The parameters in the docstring of a class, parsed as scikit-learn parses it for its pages."""
    return {each.name: each for each in NumpyDocString(inspect.getdoc(kind))["Parameters"]}


@pytest.mark.only("numpy")
@pytest.mark.parametrize("kind", OWNERS)
def test_a_parameter_is_one_entry_from_which_everything_follows(kind):
    table = parameters.entries_of(OWNERS[kind])
    signature = inspect.signature(kind)
    assert list(signature.parameters) == list(table)
    assert {name: each.default for name, each in signature.parameters.items()} == {
        name: entry.default for name, entry in table.items()
    }
    assert kind._parameter_constraints.keys() == kind().get_params().keys() == vars(kind()).keys() == table.keys()
    docs = documented(kind)
    assert list(docs) == list(table)
    for name, entry in table.items():
        assert docs[name].type.endswith(f", default={entry.default!r}")
        assert " ".join(docs[name].desc).startswith(entry.text)


@pytest.mark.only("numpy")
def test_a_new_entry_is_a_parameter_an_option_of_the_constraints_and_a_paragraph():
    class Mine(MLPClassifier):
        """Mine.

        Parameters
        ----------
        {parameters}
        """

        strength: float = parameters.parameter("How strong.", parameters.Numbers(float, 0, 1), default=0.5)

    assert Mine(strength=0.25).get_params()["strength"] == 0.25
    assert (clone(Mine(strength=0.25)).strength, Mine().strength) == (0.25, 0.5)
    assert documented(Mine)["strength"].type == "float in [0, 1), default=0.5"
    with pytest.raises(ValueError, match=r"The 'strength' parameter of Mine must be a float in the range \[0.0, 1.0\)"):
        Mine(strength=1.5).fit(*iris())


@pytest.mark.only("numpy")
def test_the_commands_options_are_those_of_the_table():
    pytest.importorskip("click", reason="the sessions without the command have none")
    options = {option.name: option for option in import_module("mlp_xp.cli.train").command.params}
    for owner in OWNERS.values():
        for name, entry in parameters.entries_of(owner).items():
            if entry.spelled is None:
                assert name not in options or name in ("check_gradients", "compile", "standardise")  # the command's own
                continue
            flags = {f"--{name.replace('_', '-')}", *([f"--{entry.also}"] if entry.also else [])}
            assert set(options[name].opts) == flags
            assert options[name].help.startswith(entry.text)


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", OWNERS)
def test_a_preset_is_settings_of_both_estimators(name, kind):
    X, y = (each[::3] for each in iris())
    settings = {**PRESETS[name], "max_iter": 2}
    assert settings.pop("batch_size") in (32, 200)
    model = kind(**settings, random_state=0).fit(X, y)
    assert len(model.validation_scores_) == 2
    assert len(pickle.dumps(PRESETS)) < 1000
    assert PRESETS is parameters.PRESETS
    assert not any(callable(each) for each in settings.values())


@pytest.mark.only("numpy")
def test_the_table_is_plain_data():
    code = "import sys, mlp_xp.parameters; print({'sklearn', 'numpy', 'click'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.only("numpy")
def test_parameters_are_positional_where_they_were_and_misspelt_ones_are_refused():
    assert MLPClassifier((7,), "tanh").get_params()["activation"] == "tanh"
    regressor = MLPRegressor("poisson", (7,), "tanh")
    assert (regressor.loss, regressor.hidden_layer_sizes, regressor.activation) == ("poisson", (7,), "tanh")
    with pytest.raises(TypeError, match=r"MLPClassifier.__init__\(\) takes from 1 to 3 positional arguments but 4"):
        MLPClassifier((7,), "tanh", "sgd")
    with pytest.raises(TypeError, match=r"MLPRegressor.__init__\(\) got an unexpected keyword argument 'alhpa'"):
        MLPRegressor(alhpa=1.0)


class Named(MLPClassifier):
    """A subclass with parameters of its own."""

    def __init__(self, hidden_layer_sizes=(5,), *, max_iter=7, label=""):
        super().__init__(hidden_layer_sizes, max_iter=max_iter)
        self.label = label


@pytest.mark.only("numpy")
def test_a_subclass_may_have_an_init_of_its_own():
    assert list(inspect.signature(Named).parameters) == ["hidden_layer_sizes", "max_iter", "label"]
    model = clone(Named((4,), label="a")).set_params(max_iter=3)
    assert (model.hidden_layer_sizes, model.max_iter, model.label, model.alpha) == ((4,), 3, "a", 0.0001)
    fitted = model.fit(*iris())
    assert fitted.n_iter_ == 3
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(iris()[0]), fitted.predict(iris()[0]))


@pytest.mark.only("numpy")
def test_classes_of_a_script_travel_by_cloudpickle():
    code = (
        "import sys, cloudpickle; from mlp_xp.estimators import MLPRegressor\n"
        "class Mine(MLPRegressor): pass\n"
        "sys.stdout.buffer.write(cloudpickle.dumps(Mine('poisson', alpha=0.5)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    model = cloudpickle.loads(done.stdout)
    assert (type(model).__name__, model.loss, model.alpha, clone(model).alpha) == ("Mine", "poisson", 0.5, 0.5)


@pytest.mark.only("dask")
def test_dask_tells_estimators_apart_by_what_they_have_learned():
    from dask.base import tokenize

    X, y = iris()
    one, other = (MLPClassifier(max_iter=2, random_state=0).fit(X, labels) for labels in (y, y[::-1]))
    assert tokenize(one) == tokenize(one)
    assert tokenize(one) != tokenize(other)
