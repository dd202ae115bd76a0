"""Checkpoints come back to the bit, bad files are refused in one sentence, and kill -9 at any moment loses nothing."""

from __future__ import annotations

import errno
import math
import os
import pickle
import random
import re
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import damaged_parts
import numpy as np
import pytest
import textbook
from array_api_compat import array_namespace
from marks import EAGER

import mlp_xp as mx
from mlp_xp import checkpoint, optim
from mlp_xp._lib import files
from mlp_xp._lib.namespace import to_host
from mlp_xp.dropout import uniform
from mlp_xp.train import Dataset, Epoch, Record, train

CONFIG = {"sizes": (4, 5, 3), "optimizer": {"name": "adam", "beta1": 0.9}, "patience": math.inf, "seed": 3}


@pytest.fixture
def params(put):
    return tuple(put(p) for p in textbook.parameters())


@pytest.fixture
def data(put):
    return put(textbook.batch()), put(textbook.labels())


@pytest.fixture
def trained(data, params):
    """Three epochs, the best of which is not the last."""
    *_, epoch = train(*data, params, lr=0.1, epochs=3, batch_size=4, validation=data, score=lambda params: -1.0)
    assert epoch.best is not epoch.params
    return epoch


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def bits(arrays):
    return [(host.dtype.str, host.shape, host.tobytes()) for host in map(np.asarray, map(to_host, arrays))]


# --- save and load -----------------------------------------------------------------------------------------------


def test_everything_comes_back_to_the_bit(trained, params, path, xp):
    checkpoint.save(path, trained, CONFIG)
    back = checkpoint.load(path, params, CONFIG)
    assert back.history == trained.history
    for ours, theirs in zip(back[1:4], trained[1:4], strict=True):
        assert bits(ours) == bits(theirs)
        assert all(array_namespace(a) is xp for a in ours)
    assert [a.dtype for a in back.state] == [a.dtype for a in trained.state]
    assert back.state[0].shape == ()


def shaken(X, seed, first):
    """A transform: other inputs in each step."""
    return X + uniform(array_namespace(X), X.shape, seed, 0, X, first)


RESUMED = {name: pytest.param(make, {}) for name, make in optim.OPTIMIZERS.items()}
MORE = {"input_dropout": 0.2, "max_norm": 0.8, "transform": shaken}
RESUMED["more options"] = pytest.param(optim.momentum, MORE, marks=EAGER)


@pytest.mark.parametrize(("make", "more"), RESUMED.values(), ids=RESUMED)
def test_a_resumed_run_equals_one_that_never_stopped(make, more, data, params, path):
    settings = {"optimizer": make(), "lr": 0.01, "batch_size": 4, "dropout": 0.3, "seed": 5, **more}
    *_, whole = train(*data, params, **settings, epochs=5)
    list(train(*data, params, **settings, epochs=2, callbacks=[checkpoint.saver(path, CONFIG)]))
    *_, resumed = train(*data, checkpoint.load(path, params, CONFIG), **settings, epochs=5)
    assert [record._replace(seconds=0.0) for record in resumed.history] == [
        record._replace(seconds=0.0) for record in whole.history
    ]
    assert [bits(a) for a in resumed[1:4]] == [bits(a) for a in whole[1:4]]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_every_floating_dtype_keeps_its_bits(name, xp, put, path):
    dtype = getattr(xp, name, None)
    if dtype is None or not xp.isdtype(dtype, "real floating"):
        assert name != "float32"  # every library has this one
        pytest.skip(f"the library has no {name}")
    params = tuple(xp.astype(put(p), dtype) for p in textbook.parameters())
    epoch = Epoch((), params, params, tuple(p * p for p in params))
    checkpoint.save(path, epoch, {})
    back = checkpoint.load(path, params, {})
    assert back.best is back.params
    for ours, theirs in ((back.params, params), (back.state, epoch.state)):
        assert all(a.dtype == b.dtype == dtype and bool(xp.all(a == b)) for a, b in zip(ours, theirs, strict=True))


def test_every_number_of_the_history_is_exact(params, path):
    odd = (0.1 + 0.2, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3)
    history = tuple(Record(i, x, 0.0, None, x, x, i, x) for i, x in enumerate(odd, start=1))
    history += (Record(99, math.nan, 0.0, math.nan, None, 0.1, 3, 1.0),)
    checkpoint.save(path, Epoch(history, params, params, ()), {})
    back = checkpoint.load(path, params, {}).history
    assert repr(back) == repr(history)


def test_a_checkpoint_of_one_library_is_a_checkpoint_of_all(trained, params, path):
    """Written by this library and read by NumPy, written by NumPy and read by this library."""
    checkpoint.save(path, trained, CONFIG)
    on_host = checkpoint.load(path, tuple(textbook.parameters()), CONFIG)
    assert [type(a) for a in on_host.params] == [np.ndarray] * 4
    checkpoint.save(path, on_host, CONFIG)
    back = checkpoint.load(path, params, CONFIG)
    assert [bits(a) for a in back[1:4]] == [bits(a) for a in trained[1:4]]
    assert back.history == trained.history


def test_loaded_arrays_are_writable_and_independent_of_the_file(trained, path):
    checkpoint.save(path, trained, CONFIG)
    first = checkpoint.load(path, tuple(textbook.parameters()), CONFIG)
    first.params[0][...] = 0.0
    assert checkpoint.load(path, tuple(textbook.parameters()), CONFIG).params[0].any()


def test_a_fingerprint_depends_on_the_values_and_not_on_the_library(put, xp):
    X, y = textbook.batch(), textbook.labels()
    here = checkpoint.fingerprint(put(X), put(y))
    assert here == checkpoint.fingerprint(X, y) == checkpoint.fingerprint(X, y.astype(np.int32))
    assert here.startswith("(6, 4) (6,) ")
    for row, column in ((0, 0), (0, 3), (3, 1), (5, 3)):
        other = X.copy()
        other[row, column] = np.nextafter(X[row, column], 9.0)
        assert checkpoint.fingerprint(put(other), put(y)) != here


@pytest.mark.only("numpy")
def test_a_fingerprint_of_a_sparse_matrix_depends_on_its_values_and_not_on_its_format():
    sparse = pytest.importorskip("scipy.sparse", reason="comes with the cli extra, which this session installs")
    X = sparse.random(30, 4, density=0.3, random_state=0)
    assert checkpoint.fingerprint(X) == checkpoint.fingerprint(X.tocsc()) != checkpoint.fingerprint(2 * X)


def test_a_fingerprint_of_a_dataset_is_that_of_its_rows(put):
    X, y, weight, rows = textbook.batch(), textbook.labels(), textbook.row_weights(), np.asarray([5, 0, 3])
    ours = checkpoint.fingerprint(Dataset(put(X), put(y), put(weight), rows), put(y))
    assert ours == checkpoint.fingerprint(X[rows], y[rows], weight[rows], y)


def test_a_checkpoint_says_whose_state_it_holds_and_how_many_rows_were_seen(data, params, path):
    (epoch,) = train(*data, params, optimizer=optim.rmsprop(), lr=0.01, epochs=1)
    checkpoint.save(path, epoch, CONFIG)
    back = checkpoint.load(path, params, CONFIG)
    assert (back.optimizer, back.rows) == ("rmsprop", 6)
    with pytest.raises(ValueError, match=r"takes its optimizer: the Epoch's is rmsprop, got momentum$"):
        next(train(*data, back, optimizer=optim.momentum(), epochs=2))


@pytest.mark.only("numpy")
def test_what_a_file_lacks_is_what_is_usual(small, path):
    """An entry that a newer version added; nothing else is taken for granted."""
    usual = {"new": {"seed": 1, "folds": False}, "other": 3}
    checkpoint.load(path, small, {"seed": 1, "new": {"folds": False}}, usual=usual)
    for config, sentence in (
        ({"seed": 1, "new": {"folds": True}}, "new.folds must be true, got false"),
        ({"seed": 1, "added": 1}, "added must be 1, got nothing"),
        ({}, "seed must be absent, got 1"),
        ({"seed": 2, "other": 3}, "seed must be 2, got 1"),
    ):
        with pytest.raises(ValueError, match=f"is a checkpoint of another configuration: {re.escape(sentence)}$"):
            checkpoint.load(path, small, config, usual=usual)
    with pytest.raises(TypeError, match=r"^usual must be a dict of numbers, strings, lists and dicts, got 3$"):
        checkpoint.load(path, small, {"seed": 1}, usual=3)


@pytest.mark.only("numpy")
def test_a_file_of_an_older_version_says_neither_and_goes_on(data, params, path):
    """The header that version 0.1.0 wrote: format, arrays and the other entries are the same."""
    settings = {"lr": 0.01, "batch_size": 4, "seed": 5}
    *_, whole = train(*data, params, **settings, epochs=3)
    list(train(*data, params, **settings, epochs=1, callbacks=[checkpoint.saver(path, CONFIG)]))
    arrays, header = files.read(path, "checkpoint")
    assert {header.pop("optimizer"), header.pop("rows")} == {optim.adam().name, 6}
    files.write(path, "checkpoint", arrays, header)
    kept = checkpoint.load(path, params, CONFIG)
    assert (kept.optimizer, kept.rows) == ("", 0)
    *_, resumed = train(*data, kept, **settings, epochs=3)
    assert [bits(a) for a in resumed[1:4]] == [bits(a) for a in whole[1:4]]
    assert (resumed.optimizer, resumed.rows) == (whole.optimizer, whole.rows)


@pytest.mark.only("numpy")
def test_a_callback_that_saves_can_be_pickled(trained, params, path):
    save = pickle.loads(pickle.dumps(checkpoint.saver(path, CONFIG)))
    assert save(trained) is None
    assert checkpoint.load(path, params, CONFIG).history == trained.history


@pytest.mark.only("torch")
def test_parameters_of_a_module_say_where_a_checkpoint_is_placed(data, params, path):
    """``like`` may be ``nn.Parameter``s, and so may be what is saved; what is loaded is plain tensors."""
    import torch

    (epoch,) = train(*data, params, lr=0.1, epochs=1)
    module = tuple(torch.nn.Parameter(p.clone()) for p in epoch.params)
    checkpoint.save(path, epoch._replace(params=module, best=module), CONFIG)
    back = checkpoint.load(path, module, CONFIG)
    assert [bits(a) for a in back[1:4]] == [bits(a) for a in epoch[1:4]]
    assert all(type(a) is torch.Tensor and not a.requires_grad for a in (*back.params, *back.best, *back.state))


def test_an_array_without_axes_has_a_fingerprint(put):
    first, again, other = (checkpoint.fingerprint(put(np.asarray(value))) for value in (1.5, 1.5, 2.5))
    assert first == again != other
    assert first.startswith("() ")


# --- files that are refused --------------------------------------------------------------------------------------


@pytest.fixture
def small(path):
    """Parameters whose checkpoint, a few hundred bytes, is at ``path``."""
    params = (np.ones((1, 1)), np.zeros(1))
    checkpoint.save(path, Epoch((), params, params, ()), {"seed": 1})
    return params


def refusal(path, like, config):
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}") as caught:
        checkpoint.load(path, like, config)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(str(path))


@pytest.mark.only("numpy")
def test_a_file_cut_short_anywhere_is_refused(small, path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert " must be a checkpoint of mlp_xp, got " in refusal(path, small, {"seed": 1})
    path.write_bytes(whole + b"\0")
    assert "truncated, damaged" in refusal(path, small, {"seed": 1})


@pytest.mark.only("numpy")
def test_a_file_with_any_byte_changed_is_refused(small, path):
    whole = path.read_bytes()
    for position in range(len(whole)):
        for change in (0x01, 0x80):
            changed = bytearray(whole)
            changed[position] ^= change
            path.write_bytes(changed)
            refusal(path, small, {"seed": 1})


@pytest.mark.only("numpy")
def test_a_part_that_is_missing_or_of_another_type_is_one_sentence(path):
    X, y, params = np.eye(4, 3), np.arange(4) % 3, mx.init_params((3, 2, 3), xp=np, seed=0)
    for epoch in train(X, y, params, epochs=2, validation=(X, y)):
        checkpoint.save(path, epoch, {"seed": 1, "data": {"rows": 4}})
    config = {"seed": 1, "data": {"rows": 4}}
    assert damaged_parts.refused(path, lambda: checkpoint.load(path, params, config), 2, "checkpoint") > 200
    assert len(checkpoint.load(path, params, config).history) == 2


@pytest.mark.only("numpy")
def test_other_files_are_refused(small, path, tmp_path):
    from safetensors.numpy import save_file

    assert refusal(tmp_path / "none", small, {}) == " can't be read: No such file or directory"
    assert refusal(tmp_path, small, {}) == " can't be read: it is not a file"
    path.write_bytes(b"")
    assert refusal(path, small, {}) == " must be a checkpoint of mlp_xp, got an empty file"
    for seed in range(50):
        path.write_bytes(np.random.default_rng(seed).bytes(300))
        assert "truncated, damaged or of another program" in refusal(path, small, {})
    for header in (b"[" * 5000, b'{"__metadata__": 3}', b"[]", b'"a"', b"{}"):
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        assert "another program" in refusal(path, small, {})
    save_file({"W1": np.ones((1, 1))}, path, metadata={"format": "pt"})
    assert refusal(path, small, {}) == " must be a checkpoint of mlp_xp, got a safetensors file of another program"
    files.write(path, "model", {"W1": np.ones((1, 1))}, {})
    assert refusal(path, small, {}) == " must be a checkpoint of mlp_xp, got a model"


@pytest.mark.only("numpy")
@pytest.mark.skipif(sys.platform == "win32", reason="devices, pipes and links of POSIX")
def test_what_has_no_end_is_not_read(small, tmp_path):
    pipe, loop, large = (tmp_path / name for name in ("pipe", "loop", "large.safetensors"))
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    with large.open("wb") as file:
        file.write(struct.pack("<Q", 2**39))
        file.truncate(2**40)  # of which the disk holds nothing
    for path, said in (("/dev/zero", "can't be read: it is not a file"), (pipe, "can't be read: it is not a file"),
                       (loop, "can't be read: it is a link that leads back to itself"),
                       (large, "must be a checkpoint of mlp_xp, got a file that is truncated")):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{path} {said}"):
            checkpoint.load(path, small, {})


@pytest.mark.only("numpy")
def test_a_newer_file_says_so(small, path, monkeypatch):
    monkeypatch.setattr(files, "VERSION", 2)
    checkpoint.save(path, Epoch((), small, small, ()), {})
    monkeypatch.undo()
    sentence = refusal(path, small, {})
    assert sentence.startswith(f" was written by a newer mlp_xp; upgrade this one, {mx.__version__}, to read it")
    assert "version 2 of the format" in sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 4}, "seed must be 4, got 3"),
        ({"optimizer": {"name": "adam", "beta1": 0.8}}, "optimizer.beta1 must be 0.8, got 0.9"),
        ({"optimizer": "adam"}, 'optimizer must be "adam", got nothing'),
        ({"patience": 5}, "patience must be 5, got Infinity"),
        ({"dropout": 0.1}, "dropout must be 0.1, got nothing"),
        ({"sizes": (4, 5, 4), "seed": 4}, "sizes must be [4, 5, 4], got [4, 5, 3]"),
    ],
)
def test_another_configuration_is_refused_by_its_first_entry(trained, params, path, change, sentence):
    checkpoint.save(path, trained, CONFIG)
    assert refusal(path, params, CONFIG | change) == f" is a checkpoint of another configuration: {sentence}"


def test_an_additional_entry_is_another_configuration(trained, params, path):
    checkpoint.save(path, trained, CONFIG | {"clip_norm": 1.0})
    assert refusal(path, params, CONFIG).endswith("clip_norm must be absent, got 1.0")


def test_a_configuration_may_hold_numpy_numbers_but_no_functions(trained, params, path):
    checkpoint.save(path, trained, {"seed": np.int64(3), "lr": np.float32(0.5)})
    checkpoint.load(path, params, {"seed": 3, "lr": 0.5})
    with pytest.raises(TypeError, match="must be numbers, strings, lists and dicts, got <function"):
        checkpoint.save(path, trained, {"activation": textbook.batch})


def test_other_parameters_are_refused(trained, params, path, put, xp):
    checkpoint.save(path, trained, CONFIG)
    wide = tuple(put(p) for p in textbook.parameters((4, 6, 3)))
    assert refusal(path, wide, CONFIG) == ": W1 must be float64 (4, 6), got float64 (4, 5)"
    single = tuple(put(p, xp.float32) for p in textbook.parameters())
    assert refusal(path, single, CONFIG) == ": W1 must be float32 (4, 5), got float64 (4, 5)"
    deep = (*params, params[2], params[3])
    assert refusal(path, deep, CONFIG) == ": W3 must be float64 (5, 3), got none"
    assert refusal(path, params[:2], CONFIG) == ": W2 must be absent, got float64 (5, 3)"


@pytest.mark.only("numpy")
@pytest.mark.parametrize("name", ["W2", "best.b1", "state.1"])
def test_a_missing_tensor_is_named(trained, params, path, name):
    checkpoint.save(path, trained, CONFIG)
    arrays, header = files.read(path, "checkpoint")
    files.write(path, "checkpoint", {key: value for key, value in arrays.items() if key != name}, header)
    sentence = refusal(path, params, CONFIG)
    assert sentence.startswith(f": {name} must be")
    assert sentence.endswith("got none")


@pytest.mark.only("numpy")
def test_without_safetensors_it_says_what_to_install(trained, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r"need safetensors: pip install 'mlp_xp\[train\]'"):
        checkpoint.save(path, trained, CONFIG)
    assert not path.exists()


SLIPS = {
    "parameters for an epoch": (
        lambda path, epoch: checkpoint.save(path, epoch.params, {}),
        "epoch must be an Epoch, as train yields them, got a tuple of 4"),
    "an epoch's history": (
        lambda path, epoch: checkpoint.save(path, None, {}), "epoch must be an Epoch, as train yields them, got None"),
    "a list for the configuration": (
        lambda path, epoch: checkpoint.save(path, epoch, [("seed", 1)]),
        "config must be a dict of numbers, strings, lists and dicts, got [('seed', 1)]"),
    "no configuration": (
        lambda path, epoch: checkpoint.saver(path, None), "config must be a dict of numbers, strings, lists and dicts"),
    "text for the configuration": (
        lambda path, epoch: checkpoint.load(path, epoch.params, "seed=1"), "config must be a dict of numbers, strings"),
    "an object in the configuration": (
        lambda path, epoch: checkpoint.save(path, epoch, {"optimizer": {"of": object}}),
        "what is stored beside the arrays must be numbers, strings, lists and dicts, got <class 'object'>"),
    "an object in that of a saver, before anything is learned": (
        lambda path, epoch: checkpoint.saver(path, {"activation": textbook.batch}),
        "what is stored beside the arrays must be numbers, strings, lists and dicts, got <function"),
    "an array in the configuration": (
        lambda path, epoch: checkpoint.save(path, epoch, {"data": textbook.batch()}),
        "what is stored beside the arrays must be numbers, strings, lists and dicts, got ndarray of shape (6, 4)"),
    "a number for the path": (
        lambda path, epoch: checkpoint.save(3, epoch, {}), "path must be a str or a Path, got 3"),
    "no path": (lambda path, epoch: checkpoint.saver(None, {}), "path must be a str or a Path, got None"),
    "bytes for the path": (
        lambda path, epoch: checkpoint.load(b"run", epoch.params, {}), "path must be a str or a Path, got b'run'"),
    "like nothing": (
        lambda path, epoch: checkpoint.load(path, None, {}), "like must be a tuple (W1, b1, W2, b2, ...), got None"),
    "like a library": (
        lambda path, epoch: checkpoint.load(path, "torch", {}),
        "like must be a tuple (W1, b1, W2, b2, ...), got 'torch'"),
    "like an epoch": (lambda path, epoch: checkpoint.load(path, epoch, {}), "W1 must be an array, got tuple"),
    "like lists": (lambda path, epoch: checkpoint.load(path, [[1.0], [2.0]], {}), "W1 must be an array, got list"),
    "a fingerprint of a list": (
        lambda path, epoch: checkpoint.fingerprint([1, 2]), "array 1 of a fingerprint must be an array, got list"),
    "a fingerprint of nothing": (
        lambda path, epoch: checkpoint.fingerprint(np.ones(2), None),
        "array 2 of a fingerprint must be an array, got None"),
    "a fingerprint of objects, which would be of their addresses": (
        lambda path, epoch: checkpoint.fingerprint(np.asarray(["a", None])),
        "array 1 of a fingerprint must hold numbers, got Python objects"),
    "a fingerprint of a masked array": (
        lambda path, epoch: checkpoint.fingerprint(np.ma.masked_array([1.0])),
        "array 1 of a fingerprint must be an array, got a masked one"),
}  # fmt: skip


@pytest.mark.only("numpy")
@pytest.mark.parametrize(("call", "words"), SLIPS.values(), ids=SLIPS)
def test_a_slip_gets_one_clear_sentence_and_leaves_the_file_as_it_was(small, path, call, words):
    (epoch,), before = (checkpoint.load(path, small, {"seed": 1}),), path.read_bytes()
    with pytest.raises(TypeError) as caught:
        call(path, epoch._replace(params=(*small, *small)))
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.only("numpy")
def test_like_no_parameters_is_refused(small, path):
    with pytest.raises(ValueError, match=r"^like must hold the parameters of a new run, got none$"):
        checkpoint.load(path, (), {"seed": 1})


# --- whole or not at all -----------------------------------------------------------------------------------------


@pytest.mark.only("numpy")
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(small, path, monkeypatch, call, error):
    before = path.read_bytes()

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)) as caught:
        checkpoint.save(path, Epoch((), small, small, ()), {"seed": 2})
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert str(caught.value) == f"{path} can't be written: No space left on device"
        assert caught.value.errno == errno.ENOSPC
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.only("numpy")
@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(small, path):
    import resource

    before = path.read_bytes()
    large = (np.ones((1000, 1000)), np.ones(1000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))  # a megabyte of eight
    try:
        with pytest.raises(OSError, match="can't be written: File too large"):
            checkpoint.save(path, Epoch((), large, large, ()), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.only("numpy")
def test_a_path_that_cannot_be_written_is_refused_in_one_sentence(small, tmp_path):
    for bad, reason in (
        (tmp_path / "none" / "a", "No such file or directory"),
        (tmp_path, "something else than a file"),
    ):
        with pytest.raises(OSError, match=f"^{bad} can't be written: .*{reason}$"):
            checkpoint.save(bad, Epoch((), small, small, ()), {})
    assert [*tmp_path.glob(".*.part")] == []


@pytest.mark.only("numpy")
@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_the_file_has_an_ordinary_mode_and_may_be_a_link(small, path, tmp_path):
    epoch = Epoch((), small, small, ())
    path.unlink()
    old = os.umask(0o027)
    try:
        checkpoint.save(path, epoch, {})
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        checkpoint.save(path, epoch, {})  # the old file's mode stays
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    link = tmp_path / "link"
    link.symlink_to(path)
    checkpoint.save(link, epoch, {"seed": 9})
    assert link.is_symlink()
    checkpoint.load(path, small, {"seed": 9})


@pytest.mark.only("numpy")
@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
@pytest.mark.parametrize("age", [-1e6, 0.0, 1e6])
def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(small, path, age):
    left, foreign = path.with_name(f".{path.name}.12.part"), path.with_name("x")
    for file in (left, foreign):
        file.touch()
    with files.replacing(path) as living:
        for file in (left, living, foreign):
            os.utime(file, (time.time() - age,) * 2)  # whatever the clock says
        checkpoint.save(path, Epoch((), small, small, ()), {})
        assert living.exists()
        assert not left.exists()
        assert foreign.exists()
        living.write_bytes(b"and is there in the end")
    assert path.read_bytes() == b"and is there in the end"
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([path.name, "x"])


@pytest.mark.only("numpy")
def test_two_writers_of_one_path_never_leave_half_of_each(path):
    """While two processes write files of different sizes, a reader finds one or the other, whole."""
    script = """
import sys, numpy as np
from mlp_xp import checkpoint
from mlp_xp.train import Epoch
params = (np.full((200, int(sys.argv[2])), float(sys.argv[2])), np.zeros(int(sys.argv[2])))
for _ in range(25):
    checkpoint.save(sys.argv[1], Epoch((), params, params, ()), {"width": int(sys.argv[2])})
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), str(width)]) for width in (50, 90)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            arrays, header = files.read(path, "checkpoint")
            width = header["config"]["width"]
            assert arrays["W1"].shape == (200, width)
            assert (arrays["W1"] == width).all()
            seen.add(width)
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# --- killed ------------------------------------------------------------------------------------------------------


@EAGER
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there")
def test_a_run_killed_at_any_moment_continues_to_the_same_bits(backend, request, tmp_path):
    """With dropout, Adam, a schedule, a validation set and patience; killed and started again many times."""
    kills, epochs = (14, 84) if backend == "numpy" else (2, 9)  # other libraries take seconds to start
    device = request.config.getoption("--device") or {"array_api_strict": "device1"}.get(backend, "")
    script = Path(__file__).with_name("resumable_run.py")

    def start(name):
        arguments = [backend, device, str(tmp_path / name), str(tmp_path / f"{name}.npz"), str(epochs)]
        run = subprocess.Popen([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True)
        assert run.stdout.readline() == "begins\n"
        return run

    with start("never") as run:
        assert run.stdout.readline() == "an epoch\n"  # some libraries compile before the first
        began = time.perf_counter()
        assert run.stdout.read() == "an epoch\n" * (epochs - 1)
        seconds = (time.perf_counter() - began) / epochs
    assert run.returncode == 0

    moments, killed = random.Random(0), 0
    while not (tmp_path / "killed.npz").exists():
        with start("killed") as run:
            if killed < kills:
                for _ in range(moments.randint(0, epochs // kills)):
                    run.stdout.readline()
                time.sleep(moments.uniform(0.0, 1.5 * seconds))
                run.kill()
            run.stdout.read()
        assert run.returncode in (0, -signal.SIGKILL)
        killed += run.returncode == -signal.SIGKILL
    print(f"{backend}: killed {killed} times in {epochs} epochs of {seconds:.3f} s")
    assert killed >= kills - 1  # the last kill may come after the end
    with np.load(tmp_path / "never.npz") as ours, np.load(tmp_path / "killed.npz") as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            assert ours[name].tobytes() == theirs[name].tobytes(), name
