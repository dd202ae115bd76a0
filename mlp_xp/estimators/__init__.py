"""scikit-learn's estimators over the training loop, on arrays of any library.

    data        what comes in, checked as scikit-learn checks it
    folds       each network of an ensemble holds out a part of the rows
    transformer the last hidden layer as features for another estimator
    conversion  estimators of scikit-learn's and PyTorch's networks, and back
    network     the network of an estimator: parameters, curves, predictions, devices
    lbfgs       L-BFGS in place of epochs
    settings    how a run goes, from the parameters
    reporting   a progress bar, scikit-learn's callbacks, warnings
    base        fit: from the data to the network
    classifier  MLPClassifier
    regressor   MLPRegressor
    files       a fitted estimator in a file, and back
    converters  pipelines with an estimator, for skl2onnx
    displays    loss curves, weights and importance of inputs as pictures

Before: ``train``, and ``parameters``, the table of what an estimator takes. README.md beside this file is a guide.
Needs scikit-learn: ``pip install 'mlp_xp[sklearn]'``.
"""

from mlp_xp.estimators.classifier import MLPClassifier
from mlp_xp.estimators.converters import register_converters
from mlp_xp.estimators.displays import ImportanceDisplay, LossCurveDisplay, WeightsDisplay
from mlp_xp.estimators.files import load
from mlp_xp.estimators.regressor import MLPRegressor
from mlp_xp.parameters import PRESETS, preset_for

__all__ = [
    "PRESETS",
    "ImportanceDisplay",
    "LossCurveDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "WeightsDisplay",
    "load",
    "preset_for",
    "register_converters",
]
