"""What is shown while an estimator learns: printed lines, a progress bar, scikit-learn's callbacks."""

from __future__ import annotations

import warnings

import pytest
from estimator_problems import iris
from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning

from mlp_xp.estimators import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.only("numpy")
def test_scikit_learns_callbacks_are_called_and_may_stop():
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 and newer have callbacks")
    seen = []

    class Watch:
        def setup(self, estimator, context):
            seen.append("setup")

        def teardown(self, estimator, context):
            seen.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            seen.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            seen.append(f"end {context.task_name}")
            if context.task_name == "epoch":
                assert fitted_estimator.predict(iris()[0]).shape == (150,)
                return context.task_id == 3
            return False

    model = MLPClassifier(max_iter=10, random_state=0).set_callbacks(Watch()).fit(*iris())
    assert model.n_iter_ == 4
    assert seen[:3] == ["setup", "begin fit", "begin epoch"]
    assert seen.count("begin epoch") == seen.count("end epoch") == 4
    assert seen[-1] == "teardown"
    seen.clear()
    model.set_params(tol=1e9, n_iter_no_change=1).fit(*iris())  # it converges: no epoch is begun that does not end
    assert model.n_iter_ == 3
    assert seen.count("begin epoch") == seen.count("end epoch") == 3
    seen.clear()
    model.partial_fit(*iris()).partial_fit(*iris())
    assert seen == ["setup", "begin fit", "begin epoch", "end epoch", "end fit", "teardown"] * 2
    seen.clear()
    MLPClassifier(solver="lbfgs", max_iter=2).set_callbacks(Watch()).fit(*iris())
    assert seen == ["setup", "begin fit", "end fit", "teardown"]


@pytest.mark.only("numpy")
def test_verbose_prints_what_scikit_learn_prints_and_progress_shows_a_bar(capsys):
    X, y = iris()
    MLPClassifier(max_iter=2, verbose=True, random_state=0).fit(X, y)
    ours = capsys.readouterr().out
    theirs.MLPClassifier(max_iter=2, verbose=True, random_state=0).fit(X, y)
    assert ours == capsys.readouterr().out
    MLPClassifier(max_iter=2, progress=True, random_state=0).fit(X, y)
    assert "2/2" in capsys.readouterr().out
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(max_iter=2).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(max_iter=300, tol=0.5, n_iter_no_change=2).fit(X, y)
