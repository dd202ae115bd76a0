"""scikit-learn's own tests of its MLPs, on ours: ``python scripts/sklearn_suite.py [ARGUMENTS OF PYTEST]``.

The tests are those of the installed scikit-learn, with one import changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

THEIRS = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
OURS = "from mlp_xp.estimators import MLPClassifier, MLPRegressor\n"

LEFT_OUT = {
    "test_fit": "sets coefs_, _coef_grads and _no_improvement_count by hand",
    "test_gradient": "calls _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads _optimizer.learning_rate",
    "test_adaptive_learning_rate": "reads _optimizer.learning_rate",
    "test_n_iter_no_change": "reads _no_improvement_count",
    "test_n_iter_no_change_inf": "reads _no_improvement_count",
    "test_predict_proba_multilabel": "wants the logarithm of a rounded p, without the digits of ours near p = 1",
}
"""Tests of scikit-learn's that are not for ours -> why."""


def changed(source: str) -> str:
    """The tests with our estimators; exits where they are no longer those that ``LEFT_OUT`` knows."""
    if (count := source.count(THEIRS)) != 1:
        sys.exit(f"scikit-learn's tests must have the line {THEIRS.strip()!r} once, they have it {count} times")
    present = set(re.findall(r"^def (test_\w+)\(", source, flags=re.MULTILINE))
    if gone := LEFT_OUT.keys() - present:
        sys.exit(f"scikit-learn has no {', '.join(sorted(gone))} any more: remove it from LEFT_OUT")
    for name in LEFT_OUT:
        source = source.replace(f"def {name}(", f"def left_out_{name}(")
    return source.replace(THEIRS, OURS)


def main(arguments: list[str]) -> int:
    """Run the tests in a folder of their own; the exit status of pytest."""
    spec = find_spec("sklearn.neural_network.tests.test_mlp")
    if spec is None or spec.origin is None:
        sys.exit("the installed scikit-learn has no sklearn/neural_network/tests/test_mlp.py")
    source = changed(Path(spec.origin).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_mlp.py").write_text(source, encoding="utf-8")
        # the plugin has scikit-learn's fixture global_random_seed; all of its files but this one stay out
        options = ["-p", "sklearn.conftest", "-p", "no:cacheprovider", "--rootdir", folder, "-c", os.devnull]
        command = [sys.executable, "-m", "pytest", *options, *arguments, "test_mlp.py"]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
