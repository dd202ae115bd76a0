"""The catalogue of wrong backward passes: each kind is refused and named, and the right gradient passes."""

from __future__ import annotations

import pytest
import wrong_backward_passes as catalogue
from wrong_backward_passes import ACTIVATIONS, KINDS, RIGHT, Kind, Setting

import mlp_xp as mx

pytestmark = pytest.mark.only("numpy")  # the numbers are the same on every backend, and thousands of evaluations slow


def plainest(kind: Kind) -> Setting:
    deep = {"sizes": (5, 4, 6, 3)} if kind.hidden > 1 else {}
    return Setting(**deep | dict(kind.needs))


def check(kind: Kind, setting: Setting) -> mx.Report:
    case = catalogue.build(kind, setting)
    return mx.gradcheck(case.f, case.grad, case.params, case.names, hypotheses=case.hypotheses)


def refused(kind: Kind) -> tuple[str, str]:
    """The verdict and the first sentence; a tuple of the wrong length is no gradient at all, and raises."""
    try:
        report = check(kind, plainest(kind))
    except ValueError as error:
        return "fail", str(error)
    return report.verdict, catalogue.top_diagnosis(report)


# every kind is judged once, and two tests look at it
@pytest.fixture(scope="module")
def judged() -> dict[str, tuple[str, str]]:
    return {kind.name: refused(kind) for kind in KINDS}


def test_there_are_enough_kinds_and_no_name_twice():
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 45


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_is_a_mistake_in_its_plainest_setting(kind):
    # by complex steps of f: no checker has a say in what counts
    assert catalogue.visible(catalogue.build(kind, plainest(kind)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_is_refused(kind, judged):
    assert judged[kind.name][0] == "fail"


def test_nineteen_causes_of_twenty_are_named(judged):
    wrong = {}
    for kind in KINDS:
        words = catalogue.build(kind, plainest(kind)).words
        if not any(word in judged[kind.name][1].lower() for word in words):
            wrong[kind.name] = judged[kind.name][1]
    assert len(wrong) <= len(KINDS) / 20, wrong


# settings of the right network: every need of a kind, and every activation with every criterion
NEEDS = [dict(needs) for needs in {tuple(plainest(kind)._asdict().items()) for kind in KINDS}]
RIGHT_SETTINGS = [Setting(**needs) for needs in NEEDS] + [
    Setting(activation=activation, criterion=criterion, l2=1e-2, dropout=0.3, weighted=True, dtype=dtype)
    for activation in ACTIVATIONS
    for criterion in ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error")
    for dtype in ("float64", "float32")
]


@pytest.mark.parametrize("setting", sorted(set(RIGHT_SETTINGS), key=str), ids=lambda setting: str(tuple(setting)))
def test_the_right_gradient_passes(setting):
    assert check(RIGHT, setting).ok


def test_the_right_gradient_is_that_of_complex_steps():
    for activation in ACTIVATIONS:
        setting = Setting((5, 4, 6, 3), activation=activation, l2=1e-2, l1=1e-2, label_smoothing=0.1, dropout=0.3)
        case = catalogue.build(RIGHT, setting)
        for ours, truth in zip(case.grad(*case.params), catalogue.complex_steps(case.f, case.params), strict=True):
            assert catalogue.distance(ours, truth) < 1e-14  # some roundings
