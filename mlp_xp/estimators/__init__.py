"""scikit-learn's estimators over the training loop, on whatever array they are given.

    data        what comes in: arrays of the host or of a device, checked as scikit-learn checks them
    base        what both share: parameters, fit, the loop, what is learned
    classifier  MLPClassifier
    regressor   MLPRegressor
    files       a fitted estimator in a file, and back
    displays    loss curves and weights as pictures

Before: ``train``. Needs scikit-learn: ``pip install 'mlp_xp[sklearn]'``.
"""

from mlp_xp.estimators.classifier import MLPClassifier
from mlp_xp.estimators.displays import LossCurveDisplay, WeightsDisplay
from mlp_xp.estimators.files import load
from mlp_xp.estimators.regressor import MLPRegressor

__all__ = ["LossCurveDisplay", "MLPClassifier", "MLPRegressor", "WeightsDisplay", "load"]
