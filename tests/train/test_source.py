"""Data on disk: what has ``shape``, ``dtype`` and ``X[rows]`` teaches what the array of its rows teaches."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
import textbook
from marks import EAGER

import mlp_xp as mx
from mlp_xp import checkpoint, optim
from mlp_xp.train import Dataset, Diverged, Interrupted, in_blocks, source, train

N = 50


class OnDisk:
    """The rows of an array to those who ask as HDF5 demands it: for slices, or for numbers that increase."""

    def __init__(self, rows, fails=None):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.asked, self.fails = [], fails

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            assert rows.step is None
        else:
            assert rows.dtype == np.int64
            assert np.all(np.diff(rows) > 0)
        self.asked.append(rows)
        if self.fails is not None and len(self.asked) > self.fails:
            raise OSError("the disk is gone")
        return self.rows[rows].copy()


def numbers(dtype="float64"):
    return np.random.default_rng(0).normal(size=(N, 4)).astype(dtype)


LABELS = np.arange(N) % 3


@pytest.fixture
def params(put):
    return tuple(put(p) for p in textbook.parameters())


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    """Three batches of ten rows are read together."""
    monkeypatch.setattr(source, "_READ", 32 * 8 * 4)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """When a run has ended, however it ended."""
    yield
    assert not [each.name for each in threading.enumerate() if each.name == "mlp_xp reads ahead"]


def learn(X, y, params, **options):
    chosen = {"epochs": 2, "optimizer": optim.sgd(), "lr": 0.5, "batch_size": 10, **options}
    return list(train(X, y, params, **chosen))[-1]


WEIGHT = 1.0 + np.arange(N) % 4
RUNS = {
    "in a random order": {},
    "as they come": {"shuffle": False},
    "in an order that repeats rows": {"order": lambda number: np.arange(N) // 3},
    "with a share held out": {"validation": 0.3},
    "with a share held out, as they come": {"validation": 0.3, "shuffle": False},
    "with weights": {"sample_weight": WEIGHT},
    "with larger steps": {"accumulate": 2},
    "with an incomplete last batch": {"batch_size": 7},
    "in batches larger than a read": {"batch_size": 40},
}


@EAGER
@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_it_teaches_what_an_array_teaches(put, params, host, options):
    options = {name: put(each) if name == "sample_weight" else each for name, each in options.items()}
    X = numbers()
    ours, theirs = (learn(each, put(LABELS), params, **options) for each in (OnDisk(X), put(X)))
    for a, b in zip(map(host, ours.params), map(host, theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    for a, b in ((ours.last.loss, theirs.last.loss), (ours.last.val_loss, theirs.last.val_loss)):
        assert a == b or a == pytest.approx(b, rel=1e-13)


def test_on_every_library_compiled_where_there_is_a_compiler(put, params, host, backend):
    X, held_out = numbers(), numbers()[:20]
    options = {"compile": True} if backend == "jax" else {}
    runs = [
        learn(each, put(LABELS), params, validation=(judged, put(LABELS[:20])), epochs=1, batch_size=20, **options)
        for each, judged in ((OnDisk(X), OnDisk(held_out)), (put(X), put(held_out)))
    ]
    for a, b in zip(*(map(host, each.params) for each in runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    assert runs[0].last.val_loss == pytest.approx(runs[1].last.val_loss, rel=1e-13)


@EAGER
def test_an_array_in_a_file_teaches_networks_of_any_library(put, params, host, tmp_path):
    np.save(tmp_path / "X.npy", numbers("float32"))
    file = np.load(tmp_path / "X.npy", mmap_mode="r")
    ours, theirs = (learn(each, put(LABELS), params) for each in (file, put(numbers("float32").astype("float64"))))
    for a, b in zip(map(host, ours.params), map(host, theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@EAGER
def test_an_ensemble_with_weights_of_its_own(put, host):
    networks = tuple(put(p) for p in mx.init_params((4, 5, 3), ensemble=2))
    weight = put(np.stack([WEIGHT, WEIGHT * (np.arange(N) % 5 > 0)]))
    ours, theirs = (
        learn(each, put(LABELS), networks, sample_weight=weight) for each in (OnDisk(numbers()), put(numbers()))
    )
    for a, b in zip(map(host, ours.params), map(host, theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@EAGER
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "float32"])
def test_rows_come_in_the_dtype_of_the_parameters(put, params, host, dtype):
    X = np.abs(10 * numbers()).astype(dtype)
    ours, theirs = (learn(each, put(LABELS), params) for each in (OnDisk(X), put(X.astype("float64"))))
    assert host(ours.params[0]).dtype == np.float64
    for a, b in zip(map(host, ours.params), map(host, theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.only("numpy")
def test_a_fingerprint_is_that_of_the_array():
    X, rows = numbers("float32"), np.asarray([40, 3, 3, 7])
    assert checkpoint.fingerprint(OnDisk(X), LABELS) == checkpoint.fingerprint(X, LABELS)
    assert checkpoint.fingerprint(Dataset(OnDisk(X), LABELS, None, rows)) == checkpoint.fingerprint(
        X[rows], LABELS[rows]
    )


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_the_rows_of_several_batches_are_read_together(params):
    X = OnDisk(numbers())
    next(train(X, LABELS, params, epochs=1, batch_size=10))
    looked, learned = X.asked[:-2], X.asked[-2:]
    assert sum(len(range(*each.indices(N))) for each in looked) == N + 2  # a first row, twice, tells shape and dtype
    assert [len(each) for each in learned] == [30, 20]
    assert sorted(np.concatenate(learned)) == list(range(N))


@pytest.mark.only("numpy")
def test_rows_without_gaps_are_asked_for_as_a_slice():
    X = OnDisk(numbers())
    for rows in ([5, 3, 4, 4], [7], [2, 4]):
        np.testing.assert_array_equal(source.read_rows(X, np.asarray(rows)), X.rows[rows])
    assert X.asked[:2] == [slice(3, 6), slice(7, 8)]
    assert X.asked[2].tolist() == [2, 4]


@pytest.mark.only("numpy")
def test_the_next_call_is_made_while_the_result_of_the_one_before_is_used():
    made = [threading.Event() for _ in range(3)]
    calls = [lambda event=event: event.set() or threading.current_thread() for event in made]
    results = source.ahead(calls)
    threads = [next(results)]
    assert made[1].wait(10.0)  # nobody has asked for it
    assert not made[2].wait(0.05)  # one ahead, no more
    threads += list(results)
    assert threading.main_thread() not in threads
    assert len(set(threads)) == 3


@pytest.mark.only("numpy")
@pytest.mark.parametrize("reads", [0, 3, 5])
def test_what_reading_raises_is_raised_by_the_run(params, reads):
    with pytest.raises(OSError, match=r"^the disk is gone$"):
        learn(OnDisk(numbers(), fails=reads), LABELS, params)


@pytest.mark.only("numpy")
def test_a_run_that_is_interrupted_or_broken_off_in_an_epoch(params):
    def interrupted(X, seed, first):
        raise KeyboardInterrupt

    def broken(X, seed, first):
        raise RuntimeError("no")

    with pytest.raises(Interrupted) as kept:
        learn(OnDisk(numbers()), LABELS, params, transform=interrupted)
    with pytest.raises(RuntimeError):
        learn(OnDisk(numbers()), LABELS, params, transform=broken)
    assert kept.value.params[0].shape == (4, 5)


@pytest.mark.only("numpy")
def test_a_run_that_diverges_says_why(params):
    X = numbers()
    X[3:6] = 1e200
    with pytest.raises(Diverged, match=r"the inputs reach 1\.0e\+200: standardise them$"), np.errstate(all="ignore"):
        learn(OnDisk(X), LABELS, params, activation="identity")


def strings():
    return OnDisk(np.full((N, 4), "a"))


class Flat(OnDisk):
    def __getitem__(self, rows):
        return super().__getitem__(rows).ravel()


class Infinite:
    def __new__(cls):
        X = numbers()
        X[44, 2] = np.inf
        return OnDisk(X)


WRONG = {
    "infinity in a later part": (Infinite, ValueError, "X must be finite, got NaN or infinity"),
    "texts": (strings, TypeError, "X must hold real numbers, got <U1"),
    "another shape": (lambda: Flat(numbers()), ValueError, "X[rows] must have shape (1, 4) for 1 rows, got (4,)"),
    "three axes": (lambda: OnDisk(np.zeros((N, 2, 2))), ValueError, "X must have shape (n, d_in), got (1, 2, 2)"),
    "another width": (lambda: OnDisk(np.zeros((N, 3))), ValueError, "W1 must have shape (3, d_out) to follow X (1, 3)"),
    "no rows": (lambda: OnDisk(np.zeros((0, 4))), ValueError, "X must have at least one row and one column"),
    "another length than y": (lambda: OnDisk(numbers()[1:]), ValueError, "y must have one row for each of the 49 rows"),
}


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("make", "kind", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_it_is_said_in_a_sentence(params, make, kind, words):
    with pytest.raises(kind) as caught:
        learn(make(), LABELS, params)
    assert str(caught.value).startswith(words)


@pytest.mark.only("numpy")
def test_arrays_of_zarr_and_of_hdf5(params, tmp_path):
    zarr = pytest.importorskip("zarr", reason="only the session of NumPy has it")
    h5py = pytest.importorskip("h5py", reason="only the session of NumPy has it")
    X = numbers()
    chunked = zarr.create_array(store=str(tmp_path / "X.zarr"), shape=X.shape, chunks=(8, 4), dtype="float64")
    chunked[:] = X
    expected = learn(source.Rows(X, X.dtype, together=8), LABELS, params, validation=0.2)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        for each in (chunked, file.create_dataset("X", data=X, chunks=(8, 4))):
            epoch = learn(each, LABELS, params, validation=0.2)
            assert all(np.array_equal(a, b) for a, b in zip(epoch.params, expected.params, strict=True))


# --- an order for chunks -----------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
def test_an_order_in_blocks_has_every_row_and_reads_a_chunk_once():
    order = in_blocks(103, 10, mixed=3, seed=4)  # the last block has three rows
    rows = order(1)
    assert sorted(rows) == list(range(103))
    assert order(1).tolist() == rows.tolist() != order(2).tolist()
    assert pickle.loads(pickle.dumps(order))(1).tolist() == rows.tolist()  # as what goes to another machine
    assert in_blocks(103, 10, mixed=3, seed=5)(1).tolist() != rows.tolist()
    together = np.split(in_blocks(90, 10, mixed=3)(1), 3)
    blocks = [np.unique(part // 10) for part in together]
    assert sorted(np.concatenate(blocks)) == list(range(9))
    assert all(np.all(np.diff(part // 10) == 0) for part in np.split(in_blocks(90, 10, mixed=1)(1), 9))
    assert all(len(np.unique(part[:10] // 10)) > 1 for part in together)  # they are mixed


@pytest.mark.only("numpy")
@pytest.mark.parametrize("validation", [None, 0.2])
def test_what_says_its_chunks_comes_in_blocks_of_them(params, monkeypatch, validation):
    monkeypatch.setattr(source, "_READ", 20 * 4 * 8)  # two chunks of rows are in memory
    X = OnDisk(numbers())
    X.chunks = (10, 4)
    seen = []
    learn(X, LABELS, params, batch_size=5, epochs=3, validation=validation,
          callbacks=[lambda epoch: seen.append((len(X.asked), epoch))])  # fmt: skip
    asked = X.asked[: seen[0][0]], X.asked[seen[0][0] : seen[1][0]]
    chunks = [np.concatenate([np.unique(np.arange(N)[rows] // 10) for rows in each]) for each in asked]
    # a group of rows that are read together begins within a chunk, so that one may be read twice
    assert len(chunks[1]) <= 3 * -(-N // 10)
    assert [repr(rows) for rows in asked[0]] != [repr(rows) for rows in asked[1]]


@pytest.mark.only("numpy")
@pytest.mark.parametrize("changed", [{"rows": 0}, {"size": 0}, {"mixed": 0}, {"seed": -1}, {"mixed": 1.5}], ids=str)
def test_an_order_in_blocks_of_nothing_is_refused(changed):
    ((name, value),) = changed.items()
    with pytest.raises((ValueError, TypeError), match=f"^{name} must be .*, got {value}$"):
        in_blocks(**{"rows": 9, "size": 3, "mixed": 1, "seed": 0, **changed})


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("columns", "together"), [(1, 8), (2, 4), (8, 1), (9, 1), (100, 1)])
def test_no_more_bytes_are_read_together_than_fit_or_one_part(monkeypatch, columns, together):
    """Parts of one row of bytes each."""
    monkeypatch.setattr(source, "_READ", 8)
    X = OnDisk(np.zeros((16, columns), dtype=np.int8))
    assert len(list(source.read_ahead(X, None, [slice(i, i + 1) for i in range(16)]))) == 16
    assert [rows.stop - rows.start for rows in X.asked] == [together] * (16 // together)


@pytest.mark.only("numpy")
def test_rows_of_chunks_that_fill_the_memory_are_shuffled_chunk_by_chunk():
    X = OnDisk(numbers())
    X.chunks = (10, 4)  # of 320 bytes; 1024 are read together
    assert len(set(source.shuffled(np.random.default_rng(0), X, N)[:30] // 10)) == 3
    X.chunks = (25, 4)  # 800 bytes: never two of them
    rows = source.shuffled(np.random.default_rng(0), X, N)
    assert sorted(rows) == list(range(N))
    assert [len(set(part // 25)) for part in np.split(rows, 2)] == [1, 1]
    assert not np.array_equal(np.sort(rows[:25]), rows[:25])


@pytest.mark.only("numpy")
def test_a_source_has_rows_of_several_numbers():
    flat, rows = OnDisk(numbers()[:, 0]), OnDisk(numbers())
    assert (source.is_source(flat), source.is_source(rows)) == (False, True)
    flat.chunks = rows.chunks = (10,)
    assert (source.chunk_of(flat), source.chunk_of(rows), source.chunk_of(numbers())) == (0, 10, 0)


@pytest.mark.only("numpy")
def test_an_order_in_blocks_in_a_run(params):
    X = OnDisk(numbers())
    order = in_blocks(N, 10, mixed=1)
    epoch = learn(X, LABELS, params, order=order, epochs=1)
    assert all(len(np.unique(np.asarray(each) // 10)) <= 3 for each in X.asked if not isinstance(each, slice))
    assert epoch.last.steps == 5
