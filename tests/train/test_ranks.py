"""Two processes that real engines start train as one, agree to the bit, and end together: none waits for ever."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rank_cases
from array_api_compat import array_namespace
from engines import once, started
from pages import blocks
from rank_cases import ALIKE, LIKE_ONE, RAISE

import mlp_xp as mx
from mlp_xp.estimators import load
from mlp_xp.ranks import ALONE, Ranks, mean
from mlp_xp.train import train
from mlp_xp.train.step import Gradients, make_exchange

pytestmark = pytest.mark.only("numpy", "torch", "jax")


ROOT = Path(__file__).parents[2]
ENGINES = pytest.mark.only("numpy", "torch")  # arrays that MPI and torch.distributed sum


@pytest.fixture(scope="module")
def both(request, tmp_path_factory) -> list[dict[str, Any]]:
    """What came of every case on each rank."""
    engine = "torch" if request.config.getoption("--backend") == "torch" else "mpi"
    if engine == "mpi" and find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed, which the session tests(numpy) installs")
    program = str(Path(rank_cases.__file__))
    folder = once(tmp_path_factory, "ranks", lambda folder: started(engine, program, engine, str(folder)))
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]


def equal_to_the_bit(ours: Any, theirs: Any) -> bool:
    """Whether two outcomes are the same, arrays to the last bit."""
    arrays = ("params", "best", "state")
    bits = ([[(a.shape, a.tobytes()) for a in each[name]] for name in arrays] for each in (ours, theirs))
    return next(bits) == next(bits) and repr(ours["history"]) == repr(theirs["history"])


def numbers_of(record: Any) -> list[float]:
    """The numbers of a record, those of members included."""
    own = [value for value in record[:-1] if value is not None]
    return [*own, *(value for member in record.members for value in numbers_of(member))]


@ENGINES
@pytest.mark.parametrize("name", LIKE_ONE)
def test_ranks_train_as_one_process_does(both, name):
    first, one = both[0][name], rank_cases.alone(name)
    assert equal_to_the_bit(*(each[name] for each in both))
    for kind in ("params", "best", "state"):
        for ours, theirs in zip(first[kind], one[kind], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    assert first["rows"] == one["rows"]
    assert len(first["history"]) == len(one["history"])
    for ours, theirs in zip(first["history"], one["history"], strict=True):
        assert numbers_of(ours) == pytest.approx(numbers_of(theirs), rel=1e-12, abs=1e-15)


@ENGINES
@pytest.mark.parametrize("name", ALIKE)
def test_ranks_agree(both, name):
    assert equal_to_the_bit(*(each[name] for each in both))


@pytest.mark.only("numpy")
def test_whether_a_rank_was_asked_to_end_is_looked_at_in_every_eighth_step_of_an_epoch_and_in_its_last():
    params, looked_at = (np.ones((2, 1)), np.zeros(1)), []
    gradients = Gradients(np.asarray(0.5), params, np.asarray(4.0), np.asarray(1.0), np.asarray(4.0))
    exchange = make_exchange(
        array_namespace(params[0]), Ranks(0, 2, lambda arrays: arrays), params, 20, 0, lambda: True
    )
    for step in range(1, 41):
        try:
            exchange.combine(gradients)
        except KeyboardInterrupt:
            looked_at.append(step)
    assert looked_at == [8, 16, 20, 28, 36, 40]


@ENGINES
def test_patience_ended_the_run_before_its_time(both):
    assert len(both[0]["judged"]["history"]) < 60


@ENGINES
def test_scores_are_averaged(both):
    assert [record.val_score for record in both[1]["scored"]["history"]] == [2.0, 2.0]


@ENGINES
def test_a_callback_of_one_rank_ends_the_run_on_all(both):
    assert [len(each["stopped"]["history"]) for each in both] == [3, 3]


GONE = "rank {} has failed: what it raised says why"
SAID = {
    "failing callback": (GONE.format(1), "the disk is full"),
    "failing score": ("score(params) must return a number, got 'good'", GONE.format(0)),
    "bad data": (GONE.format(1), "X must be finite, got NaN or infinity"),
    "bad labels": ("y must hold labels 0 to 2, got labels 5 to 7", GONE.format(0)),
    "too few": ("rank 1 has 3 of 64 rows",) * 2,
    "other settings": ("those of rank 1 are not those of rank 0",) * 2,
    "judged apart": ("those of rank 1 are not those of rank 0",) * 2,
    "other patience": ("those of rank 1 are not those of rank 0",) * 2,
    "failing order": ("another rank has failed: what it raised says why", "order(2) must be 22 row numbers"),
    "other params": ("the parameters to start from must be the same on all ranks",) * 2,
    "diverging": ("the loss is not finite at step 1 of 1 in epoch 1", "the inputs reach"),
    "interrupted": ("training was interrupted",) * 2,
    "failing rows": ("another rank has failed: what it raised says why", "the disk is gone"),
    "folds": ("ranks need folds=False",) * 2,
    "failing search": (GONE.format(1), "the disk is full"),
    "failing product": ("the disk is full", "another rank has failed: what it raised says why"),
    "other searches": ("the settings of a search must be the same on all ranks",) * 2,
    "bad rows": ("NaN", GONE.format(0)),
    "bad batch": (GONE.format(1), "batch 2: X must be finite, got NaN or infinity"),
    "bad batch of an estimator": (GONE.format(1), "batch 2: Input X contains NaN"),
    "failing batches": ("the disk is gone", GONE.format(0)),
    "no batches": (GONE.format(1), "batches must hold at least one batch, got none"),
    "failing step": ("another rank has failed: what it raised says why", "the disk is gone"),
    "failing step of batches": (GONE.format(1), "the disk is gone"),
    "interrupted stream": ("training was interrupted",) * 2,
    "other features": ("features and targets must be the same on all ranks",) * 2,
}


@ENGINES
@pytest.mark.parametrize("name", RAISE)
def test_what_one_rank_can_not_do_ends_the_run_on_all(both, name):
    for each, said in zip(both, SAID[name], strict=True):
        assert said in each[name]["message"]


@ENGINES
def test_a_stream_that_ends_before_the_others_joins_in_until_all_have_ended(both):
    assert [each["streamed"]["history"][-1].steps for each in both] == [20, 20]
    assert [len(each["streamed until stopped"]["history"]) for each in both] == [3, 3]


@ENGINES
def test_ctrl_c_of_one_rank_between_epochs_ends_the_fit_on_all(both):
    assert [len(each["interrupted between epochs"]["history"]) for each in both] == [3, 3]


@ENGINES
@pytest.mark.parametrize("name", ["stopped search", "interrupted search"])
def test_a_search_of_ranks_ends_where_one_of_them_is_told_to(both, name):
    assert [len(each[name]["history"]) for each in both] == [3, 3]


@ENGINES
@pytest.mark.parametrize("name", ["diverging", "interrupted", "interrupted stream"])
def test_ranks_end_with_the_same_parameters(both, name):
    first, second = (each[name]["params"] for each in both)
    assert len(first) == 4
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]


@pytest.mark.only("torch")
def test_the_program_of_the_page_runs_as_it_is(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(blocks("mlp_xp/SCALE.md", "python skip")[0])
    *_, (number, loss, score) = (line.split() for line in started("torch", str(program))[0].splitlines())
    assert int(number) == 20
    assert float(loss) < 0.2
    assert float(score) > 0.9


@pytest.mark.only("torch")
def test_the_program_of_the_page_goes_on_where_a_process_has_died(tmp_path):
    first, again = blocks("mlp_xp/SCALE.md", "python skip")[:2]
    given = """
from pathlib import Path
from mlp_xp import checkpoint
config, settings = {"run": 1}, {"lr": 0.01}
"""
    program = tmp_path / "program.py"
    text = (
        first.partition("for epoch")[0]
        + given
        + again.replace("    ...", "    Path(f'{ranks.rank}-{epoch.last.number}').touch()")
    )
    for epochs, expected in ((5, range(1, 6)), (20, range(6, 21))):
        program.write_text(text.replace("epochs=20", f"epochs={epochs}"))
        started("torch", str(program), folder=tmp_path)
        made = list(tmp_path.glob("[01]-*"))
        assert sorted(path.name for path in made) == sorted(f"{rank}-{each}" for rank in (0, 1) for each in expected)
        for path in made:
            path.unlink()


@pytest.mark.only("torch")
def test_the_command_of_the_page_runs_as_it_is(tmp_path):
    for needed in ("click", "rich"):
        pytest.importorskip(needed, reason="the session tests(torch) installs it")
    command = "-m mlp_xp train houses.csv --backend torch"
    assert f"\ntorchrun --nproc-per-node 2 {command}\n" in (ROOT / "mlp_xp" / "SCALE.md").read_text()
    rows = np.random.default_rng(0).normal(size=(120, 4))
    np.savetxt(tmp_path / "houses.csv", rows, delimiter=",", header="area,rooms,age,price", comments="")
    printed, _ = started("torch", *command.split(), "--epochs", "3", "--picture", "none", folder=tmp_path)
    assert printed.count("on torch in float32") == 1  # rank 0 alone speaks
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["houses.csv", "houses.safetensors"]
    assert load(tmp_path / "houses.safetensors").t_ == 3 * 120  # the rows of both ranks


# --- one process -------------------------------------------------------------------------------------------------


@ENGINES
def test_one_rank_is_the_run_without_ranks(host):
    X, y, _ = rank_cases.problem(np, (32, 32), None)
    runs = [train(X, y, rank_cases.params_of(np), epochs=3, batch_size=16, validation=0.2, **extra)
            for extra in ({}, {"ranks": ALONE})]  # fmt: skip
    plain, ranked = (list(run)[-1] for run in runs)
    assert all((a == b).all() for a, b in zip(plain.params, ranked.params, strict=True))


@ENGINES
def test_the_mean_over_ranks_is_weighted_and_one_message():
    sent = []

    def total(arrays):  # the other rank weighs three times as much and has zeros
        sent.append(arrays)
        return (arrays[0] * 4.0, *arrays[1:])

    loss, grad = mean(Ranks(0, 2, total), 2.0, np.asarray(4.0), np.ones(3))
    assert float(loss) == 1.0
    assert grad.tolist() == [0.25] * 3
    assert len(sent) == 1


@pytest.mark.only("jax")
def test_ranks_along_an_axis_of_a_mesh_make_a_step_of_ones_own_data_parallel(device):
    import jax
    from jax.sharding import AxisType, PartitionSpec

    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    X, y, _ = rank_cases.problem(jax.numpy, (32, 32), None)
    params = rank_cases.params_of(jax.numpy)

    def step(params, X, y):
        loss, grads = mx.loss_and_grads(X, y, *params)
        return mean(mx.ranks.jax_ranks("rows"), X.shape[0], loss, *grads)

    whole, rows = PartitionSpec(), PartitionSpec("rows")
    divided = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(whole, rows, rows), out_specs=whole))
    loss, grads = mx.loss_and_grads(*map(np.asarray, (X, y)), *map(np.asarray, params))
    for ours, theirs in zip(divided(params, X, y), (loss, *grads), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


@ENGINES
def test_ranks_of_another_kind_are_refused():
    X, y, _ = rank_cases.problem(np, (32, 32), None)
    params = rank_cases.params_of(np)
    with pytest.raises(TypeError, match=r"ranks must be Ranks, as mlp_xp.ranks.torch_ranks makes them, got 2"):
        next(train(X, y, params, epochs=1, ranks=2))
    with pytest.raises(TypeError, match=r"ranks must be those of processes"):
        next(train(X, y, params, epochs=1, ranks=Ranks(np.asarray(0), 2, lambda arrays: arrays)))


@pytest.mark.only("torch")
def test_torch_ranks_take_an_initialised_process_group():
    with pytest.raises(RuntimeError, match=r"torch.distributed.init_process_group to be called first"):
        mx.ranks.torch_ranks()
