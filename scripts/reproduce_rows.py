"""The rows that ``reproduce.py`` trains: published test errors on MNIST and Fashion-MNIST, and our recipe for each.

A recipe is data. Most are settings of ``mlp_xp.train`` with momentum and a rate that falls along a cosine to 0. Those
of scikit-learn's own results are parameters of ``MLPClassifier``, which keeps its defaults. No recipe looks at the test
set: training ends after its epochs, or by scikit-learn's rule, and the last network is judged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from distortions import Distortions


class Loop(NamedTuple):
    """A run of ``mlp_xp.train`` with ``optim.momentum`` and ``schedules.cosine``.

    hidden: widths of the hidden layers.
    epochs, batch_size, lr, momentum: of the run; lr is the first one.
    options: what else ``train`` takes, such as activation, criterion and dropout.
    distortions: of the images in training; None for none.
    gain: what the initial weights of hidden layers are, times Glorot's; 4 for sigmoid units, whose slope at 0 is 1/4.
    """

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    options: dict[str, Any]
    distortions: Distortions | None = None
    gain: float = 1.0


class Estimator(NamedTuple):
    """A fit of ``mlp_xp.estimators.MLPClassifier``.

    parameters: those that are not its defaults, which are scikit-learn's.
    """

    parameters: dict[str, Any]


class Row(NamedTuple):
    """A published figure and how it is reproduced.

    name: for ``--only``.
    data: "mnist" or "fashion-mnist".
    network: in a few words.
    source: of the figure.
    published: the test error in %, in as many digits as were published.
    recipe: ours.
    wanted: the test error in % that ours is to reach, where that is not the published one.
    seeds: how many; one where a run takes more than ten minutes on two cores.
    quick: whether ``--quick`` runs it.
    """

    name: str
    data: str
    network: str
    source: str
    published: str
    recipe: Loop | Estimator
    wanted: str = ""
    seeds: int = 3
    quick: bool = False


LECUN, SIMARD = "LeCun et al. 1998", "Simard et al. 2003"
SRIVASTAVA, CIRESAN = "Srivastava et al. 2014", "Ciresan et al. 2010"
NIELSEN, XIAO, SKLEARN = "Nielsen 2015", "Xiao et al. 2017", "scikit-learn's benchmark"

SQUARES = {"activation": "tanh", "criterion": "squared_error"}
DROPPED: dict[str, Any] = {"dropout": 0.5, "input_dropout": 0.2}
DEEP = (1024, 1024, 1024)
SIMARDS = Distortions(rotation=10.0, scaling=0.1, shear=0.1, shift=1.0, strength=34.0, smoothness=4.0)
CIRESANS = Distortions(rotation=15.0, scaling=0.15, shear=0.1, shift=1.0, strength=37.0, smoothness=5.5)

PAPERS = (
    Row("lecun-300", "mnist", "300 units, squared error", LECUN, "4.7",
        Loop((300,), 20, 100, 0.02, 0.9, SQUARES), quick=True),
    Row("lecun-1000", "mnist", "1000 units, squared error", LECUN, "4.5",
        Loop((1000,), 30, 100, 0.01, 0.9, SQUARES)),
    Row("sigmoid-800", "mnist", "800 sigmoid units, dropout of inputs", SIMARD, "1.6",
        Loop((800,), 100, 128, 0.1, 0.9, {"activation": "sigmoid", "input_dropout": 0.2})),
    Row("two-layers", "mnist", "1024 relu units, dropout, max-norm", SIMARD, "1.6",
        Loop((1024,), 100, 100, 0.1, 0.9, {**DROPPED, "activation": "relu", "max_norm": 2.0}), wanted="1.25"),
    Row("dropout-logistic", "mnist", "3 x 1024 sigmoid units, dropout", SRIVASTAVA, "1.35",
        Loop(DEEP, 150, 100, 0.1, 0.95, {**DROPPED, "activation": "sigmoid"}, gain=4.0), seeds=1),
    Row("dropout-relu", "mnist", "3 x 1024 relu units, dropout", SRIVASTAVA, "1.25",
        Loop(DEEP, 100, 100, 0.05, 0.9, {**DROPPED, "activation": "relu"}), seeds=1),
    Row("dropout-max-norm", "mnist", "3 x 1024 relu units, dropout, max-norm", SRIVASTAVA, "1.06",
        Loop(DEEP, 250, 100, 0.05, 0.9, {**DROPPED, "activation": "relu", "max_norm": 3.0}), seeds=1),
    Row("distorted-800", "mnist", "800 relu units, affine and elastic distortions", SIMARD, "0.7",
        Loop((800,), 400, 128, 0.1, 0.9, {"activation": "relu"}, SIMARDS), wanted="0.9", seeds=1),
    Row("distorted-deep", "mnist", "2500-2000-1500-1000-500 tanh units, distortions", CIRESAN, "0.35",
        Loop((2500, 2000, 1500, 1000, 500), 300, 128, 0.02, 0.9, {"activation": "tanh"}, CIRESANS), seeds=1),
    Row("nielsen-100", "mnist", "100 sigmoid units, cross-entropy with L2", NIELSEN, "1.96",
        Loop((100,), 60, 10, 0.2, 0.0,
             {"activation": "sigmoid", "criterion": "sigmoid_cross_entropy", "l2": 5.0 / 50_000}),
        wanted="2.08", quick=True),
)  # fmt: skip

# activation, hidden layers, accuracy on Fashion-MNIST, on MNIST
ACCURACIES = (
    ("relu", (100,), 0.871, 0.972), ("relu", (100, 10), 0.870, 0.972), ("tanh", (100,), 0.868, 0.962),
    ("tanh", (100, 10), 0.863, 0.957), ("relu", (10, 10), 0.850, 0.936), ("relu", (10,), 0.848, 0.933),
    ("tanh", (10, 10), 0.841, 0.921), ("tanh", (10,), 0.840, 0.921),
)  # fmt: skip


def _of_xiao() -> tuple[Row, ...]:
    """The rows of the Fashion-MNIST paper's ``MLPClassifier``, whose pixels were standardised.

    That of 2017 ended after two epochs in which the loss had not fallen by ``tol``; since 0.20 it waits for ten
    (scikit-learn's pull request 9457).
    """
    common, rows = {"standardise": True, "n_iter_no_change": 2}, []
    for position, data in enumerate(("fashion-mnist", "mnist")):
        for activation, hidden, *accuracies in ACCURACIES:
            widths = "-".join(map(str, hidden))
            name, network = f"{data.partition('-')[0]}-{activation}-{widths}", f"{widths} {activation} units"
            parameters = {"hidden_layer_sizes": hidden, "activation": activation, **common}
            published = f"{100 * (1 - accuracies[position]):.1f}"
            rows.append(Row(name, data, network, XIAO, published, Estimator(parameters), quick=hidden == (10,)))
    return tuple(rows)


BENCHMARK: dict[str, Any] = {"hidden_layer_sizes": (100, 100), "max_iter": 400}
SGD = {**BENCHMARK, "solver": "sgd", "learning_rate_init": 0.2}

ROWS = (
    *PAPERS,
    *_of_xiao(),
    Row("sklearn-adam", "mnist", "100-100 relu units, Adam", SKLEARN, "2.24", Estimator(BENCHMARK)),
    Row("sklearn-sgd", "mnist", "100-100 relu units, SGD", SKLEARN, "2.87", Estimator(SGD)),
)
