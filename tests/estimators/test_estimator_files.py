"""A fitted estimator in a file, and back: on any library, of any registered class, from older versions."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import damaged_parts
import numpy as np
import pytest
from estimator_problems import iris, several_labels, two_classes, two_numbers
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError

import mlp_xp as mx
from mlp_xp import schedules
from mlp_xp._lib import files
from mlp_xp.estimators import MLPClassifier, MLPRegressor, load
from mlp_xp.estimators import files as estimator_files
from mlp_xp.estimators.files import read_notes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("problem", [iris, two_classes, several_labels, two_numbers])
def test_a_saved_model_is_the_same_model_in_any_library(xp, put, host, device, tmp_path, problem):
    X, y = problem()
    make = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    layers = {"hidden_layer_sizes": (6, 5), "activation": ["relu", mx.ops.tanh]}
    model = make(**layers, max_iter=3, random_state=0, early_stopping=make is MLPClassifier)
    model.fit(put(X), put(y)).save(tmp_path / "model.safetensors")
    again = make.load(tmp_path / "model.safetensors", xp, device)
    np.testing.assert_array_equal(host(again.predict(put(X))), host(model.predict(put(X))))
    assert again.loss_curve_ == model.loss_curve_
    on_host = make.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(on_host.predict(X), host(model.predict(put(X))), rtol=1e-9)
    np.testing.assert_allclose(on_host.score(X, y), model.score(put(X), put(y)), rtol=1e-9)
    on_host.set_params(early_stopping=False)
    resumed = model.set_params(early_stopping=False).partial_fit(put(X), put(y))
    for a, b in zip(on_host.partial_fit(X, y).coefs_, resumed.coefs_, strict=True):
        np.testing.assert_allclose(a, host(b), rtol=1e-9, atol=1e-12)


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_layer_sizes": (5,)},
        {"hidden_layer_sizes": [4, 3]},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 7},
        {"hidden_layer_sizes": (4, 3), "activation": ("relu", "tanh")},
    ],
)
def test_a_tuple_comes_back_as_a_tuple_and_a_list_as_a_list(tmp_path, options):
    model = MLPClassifier(**options, max_iter=1).fit(*iris())
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").get_params() == model.get_params()


@pytest.mark.only("numpy")
@pytest.mark.parametrize("library", ["torch", None, 3, sys, np.ndarray, np.float64])
def test_what_is_no_library_is_refused(tmp_path, library):
    MLPClassifier(4, max_iter=1).fit(*iris()).save(tmp_path / "model")
    with pytest.raises(TypeError, match=r"^xp must be an array library, a module such as .*, got "):
        load(tmp_path / "model", library)


@pytest.mark.only("numpy")
def test_strings_and_weights_of_classes_come_back_and_functions_are_refused(tmp_path):
    X, y = iris()
    names = np.asarray(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier(
        max_iter=3, random_state=np.random.RandomState(0), class_weight={"setosa": 2.0, "virginica": 1.0}
    )
    model.fit(X, names).save(tmp_path / "model")
    again = MLPClassifier.load(tmp_path / "model")
    assert list(again.predict(X)) == list(model.predict(X))
    assert again.class_weight == {"setosa": 2.0, "virginica": 1.0}
    assert again.random_state is None
    assert load(tmp_path / "model").get_params() == again.get_params()
    with pytest.raises(ValueError, match="model must be a model of MLPRegressor, got one of MLPClassifier"):
        MLPRegressor.load(tmp_path / "model")
    with pytest.raises(NotFittedError):
        MLPClassifier().save(tmp_path / "other")
    model.set_params(learning_rate=schedules.cosine(0.1)).fit(X, names)
    with pytest.raises(TypeError, match=r"learning_rate can't be saved, it is partial.*what was learned stays"):
        model.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert list(MLPClassifier.load(tmp_path / "model").predict(X)) == list(again.predict(X))


# --- which class ------------------------------------------------------------------------------------------------------

OLD = Path(__file__).parent / "written_by_0_1_0"


class Shallow(MLPClassifier):
    """A subclass, as a user may have one."""

    def __init__(self, *, max_iter=3, random_state=0):
        super().__init__((), max_iter=max_iter, random_state=random_state)


def renamed(path, name):
    """``path`` with another class in its header."""
    arrays, header = files.read(path, "model")
    files.write(path, "model", arrays, {**header, "estimator": name})
    return path


@pytest.mark.only("numpy")
def test_a_subclass_is_saved_and_loaded_once_its_module_is_imported(tmp_path):
    X, y = iris()
    model, path = Shallow().fit(X, y), tmp_path / "model"
    model.save(path)
    assert read_notes(path)["estimator"] == f"{__name__}.Shallow"
    for again in (load(path), Shallow.load(path), MLPClassifier.load(path)):
        assert type(again) is Shallow
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="model must be a model of MLPRegressor, got one of Shallow"):
        MLPRegressor.load(path)
    MLPClassifier(max_iter=1).fit(X, y).save(path)
    assert read_notes(path)["estimator"] == "MLPClassifier"
    with pytest.raises(ValueError, match="model must be a model of Shallow, got one of MLPClassifier"):
        Shallow.load(path)
    code = f"from mlp_xp.estimators import load; load({str(renamed(path, f'{__name__}.Shallow'))!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"ValueError: {path} must be a model of MLPClassifier or MLPRegressor, got one of {__name__}.Shallow: import "
        "the module that defines it first"
    )


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    "name", ["load", "WeightsDisplay", "BaseMLP", "builtins.dict", "os.system", "__main__.Foo", ""]
)
def test_a_file_constructs_no_class_that_is_not_registered(tmp_path, name):
    MLPClassifier(max_iter=1).fit(*iris()).save(tmp_path / "model")
    sentence = rf"model must be a model of MLPClassifier or MLPRegressor.*, got one of {re.escape(name)}: import the"
    with pytest.raises(ValueError, match=sentence):
        load(renamed(tmp_path / "model", name))


@pytest.mark.only("numpy")
def test_a_plain_name_is_enough_where_one_class_has_it(tmp_path):
    path = tmp_path / "model"
    Shallow().fit(*iris()).save(path)
    for name in ("Shallow", "__main__.Shallow"):  # of an older file, and of a script that was the main module
        assert type(load(renamed(path, name))) is Shallow
    namesake = type("Shallow", (MLPClassifier,), {"__module__": "elsewhere", "__qualname__": "Shallow"})
    try:
        assert type(load(renamed(path, f"{__name__}.Shallow"))) is Shallow
        assert type(Shallow.load(renamed(path, "Shallow"))) is Shallow
        assert type(load(renamed(path, "elsewhere.Shallow"))) is namesake
        with pytest.raises(ValueError, match="got one of Shallow: import the module that defines it first"):
            load(renamed(path, "Shallow"))
    finally:
        del estimator_files._CLASSES["elsewhere.Shallow"]


@pytest.mark.only("numpy")
def test_files_and_pickles_of_version_0_1_0_are_read():
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        classifier, regressor = pickle.loads((OLD / "estimators.pickle").read_bytes())
    for each in (classifier, load(OLD / "classifier.safetensors"), MLPClassifier.load(OLD / "classifier.safetensors")):
        assert type(each) is MLPClassifier
        np.testing.assert_allclose(each.predict_proba(X[:1])[0], [0.97877158, 0.00985676, 0.01137166], rtol=1e-6)
        assert list(each.predict(X[:1])) == ["setosa"]
        assert (each.n_iter_, len(each.validation_scores_), each.early_stopping) == (2, 2, True)
        again = clone(each).set_params(early_stopping=False, max_iter=1).fit(X, y)
        assert again.partial_fit(X, y).t_ == 300
        assert each.set_params(early_stopping=False).partial_fit(X, each.classes_[y]).n_iter_ == 1
    np.testing.assert_allclose(regressor.predict(X[:2, :3]), [1.48824584, 1.40399767], rtol=1e-6)
    assert type(regressor) is MLPRegressor
    assert regressor.get_params() == MLPRegressor("squared_error", 2, "tanh", max_iter=2, random_state=0).get_params()


@pytest.mark.only("numpy")
@pytest.mark.parametrize("make", [MLPClassifier, partial(MLPRegressor, ensemble=2, loss="gaussian", standardise=True)])
def test_a_part_that_is_missing_or_of_another_type_is_one_sentence(tmp_path, make):
    X, y = iris()
    path = tmp_path / "model.safetensors"
    make(hidden_layer_sizes=(2,), max_iter=1).fit(X, y.astype(float) if make is not MLPClassifier else y).save(path)
    assert damaged_parts.refused(path, lambda: load(path).predict(X), 8, "model") > 30
    assert load(path).predict(X).shape == y.shape
