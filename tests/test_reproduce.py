"""The script that reproduces published results: what it runs, keeps, says, and refuses, on images of four pixels."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the sessions without the estimators have none")

import reproduce
from reproduce_rows import ROWS, Estimator, Loop, Row

pytestmark = pytest.mark.only("numpy")

OPTIONS = {"activation": "relu", "input_dropout": 0.1, "max_norm": 3.0}
TINY = (
    Row("loop", "mnist", "5 units", "Us", "60", Loop((5,), 3, 8, 0.1, 0.9, OPTIONS), seeds=2, quick=True),
    Row("fit", "mnist", "5 units", "Us", "0.01", Estimator({"hidden_layer_sizes": (5,), "max_iter": 2}), seeds=1),
    Row("cloth", "fashion-mnist", "5 units", "Us", "1.0", Estimator({})),
)


@pytest.fixture
def folder(tmp_path):
    """Images of two classes in IDX files, as MNIST has them."""
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    random = np.random.default_rng(0)
    for start, n in (("train", 40), ("t10k", 20)):
        y = random.integers(0, 2, n).astype(np.uint8)
        X = (random.random((n, 2, 2)) * 200 + 40 * y[:, None, None]).astype(np.uint8)
        for kind, array in (("images", X), ("labels", y)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            path = tmp_path / "data" / "mnist" / f"{start}-{kind}-idx{array.ndim}-ubyte.gz"
            path.write_bytes(gzip.compress(head + array.tobytes()))
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys, folder):
    """The script with these arguments; what it prints on standard output and standard error."""
    monkeypatch.setattr(reproduce, "ROWS", TINY)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, arguments)])
        reproduce.main()
        return capsys.readouterr()

    return run


def test_rows_are_run_kept_and_not_run_again(run, folder):
    save = folder / "results.json"
    printed = run("--data", folder / "data", "--save", save)
    assert printed.out.count("epochs") == 3
    assert printed.err == f"fashion-mnist is not in {folder / 'data'}: 1 rows are left out\n"
    rows = printed.out.splitlines()[-3:]
    assert rows[0].startswith("| mnist | 5 units | Us | 60 |")
    assert [row.split("|")[-2].strip() for row in rows] == ["reached", "not reached", "not run"]
    kept = json.loads(save.read_text())["rows"]
    assert [run["seed"] for run in kept["loop"]["runs"]] == [0, 1]
    assert kept["loop"]["recipe"]["options"] == OPTIONS
    assert {"cpu", "cores", "libraries"} <= kept["fit"]["machine"].keys()
    again = run("--data", folder / "data", "--save", save)
    assert "epochs" not in again.out
    assert again.out.splitlines()[-3:] == rows
    assert run("--save", save).out.splitlines()[-3:] == rows  # without data


def test_a_run_that_was_interrupted_goes_on_where_it_was(run, folder, monkeypatch):
    save, once = folder / "results.json", reproduce.run_loop
    options = ("--data", folder / "data", "--save", save, "--only", "loop")

    def interrupted(images, recipe, seed, *rest):
        if seed:
            raise KeyboardInterrupt
        return once(images, recipe, seed, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(reproduce, "run_loop", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(*options)
    whole = run(*options).out
    assert whole.count("epochs") == 2  # that of seed 0 was printed before
    assert whole.splitlines()[-1].split("|")[6].strip() == "2"


def test_recipes_can_be_chosen_without_the_test_set(run, folder):
    for path in (folder / "data" / "mnist").glob("t10k-labels*"):
        whole = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(whole[:8] + bytes(255 - each for each in whole[8:])))  # every label is wrong
    options = ("--data", folder / "data", "--only", "loop", "--seeds", 1)
    assert "100.00 %" in run(*options).out
    assert "100.00 %" not in run(*options, "--choose").out


def test_quick_takes_one_seed_of_the_fast_rows(run, folder):
    printed = run("--data", folder / "data", "--quick").out
    assert printed.count("epochs") == 1
    assert printed.splitlines()[-1].startswith("| mnist | 5 units | Us | 60 |")
    assert all(name in run("--list").out for name in ("loop", "fit", "cloth"))


def test_figures_of_another_recipe_or_library_are_not_mixed(run, folder, monkeypatch):
    save = folder / "results.json"
    options = ("--data", folder / "data", "--save", save, "--only", "loop")
    run(*options, "--seeds", 1)
    refused = run(*options, "--dtype", "float64").err
    assert refused == ("loop was run with another recipe or on another library: take another file, or --again\n")
    assert run(*options, "--dtype", "float64", "--again", "--seeds", 1).out.count("epochs") == 1
    assert json.loads(save.read_text())["rows"]["loop"]["place"] == "numpy float64"
    changed = TINY[0]._replace(recipe=TINY[0].recipe._replace(epochs=4))
    monkeypatch.setattr(reproduce, "ROWS", (changed,))
    assert run("--save", save).out.rstrip().endswith("not run |")


def test_bad_input_is_one_sentence(run, folder):
    def refused(*arguments):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert "\n" not in caught.value.code
        return caught.value.code

    assert refused("--data", folder / "no").startswith("error: --data must be a folder, got ")
    assert refused("--only", "lop") == "error: --only must name rows of --list, got 'lop'"
    assert "nunpy" in refused("--data", folder / "data", "--backend", "nunpy")
    assert refused("--choose", "--save", folder / "a.json").startswith("error: --choose does not go with --save")
    (folder / "old.json").write_text('{"rows": ')
    assert refused("--save", folder / "old.json").endswith("old.json must be a file that this script wrote")
    path = next((folder / "data" / "mnist").glob("train-images*"))
    path.write_bytes(path.read_bytes()[:-20])
    assert refused("--data", folder / "data").endswith("must be a whole gzip file, got a truncated or damaged one")
    path.unlink()
    assert "must hold train-images" in refused("--data", folder / "data")


def test_verdicts_have_the_digits_of_what_was_published():
    row = TINY[0]._replace(published="1.6")
    assert reproduce.verdict(row, []) == "not run"
    assert reproduce.verdict(row, [1.64]) == "reached"
    assert reproduce.verdict(row, [1.66]) == "not reached"
    assert reproduce.verdict(row, [1.60, 1.75]) == "within its spread"
    assert reproduce.verdict(row._replace(wanted="1.25"), [1.26]) == "not reached"


def test_the_picture_is_drawn(run, folder):
    pytest.importorskip("matplotlib", reason="the sessions without pictures have none")
    run("--data", folder / "data", "--quick", "--plot", folder / "plot.png")
    assert (folder / "plot.png").stat().st_size > 1000


def test_every_row_has_a_name_of_its_own_and_a_recipe_that_is_plain_data():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.data in reproduce.FOLDERS
        assert reproduce.plain(row)
        assert 0 < float(row.wanted or row.published) < 20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has another error for a closed pipe")
def test_where_nobody_reads_the_script_ends_without_a_word():
    command = [sys.executable, str(reproduce.__file__), "--list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as script:
        assert script.stdout is not None
        script.stdout.close()
        assert script.wait(timeout=60) == 141
        assert script.stderr is not None
        assert script.stderr.read() == b""
