"""Bad input of every command is one line on stderr and exit status 2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import damaged_parts
import numpy as np
import pytest
import runs
from runs import cli
from shell import ENVIRONMENT

pytestmark = pytest.mark.only("numpy")


BAD = [
    ("trian", "No such command 'trian'"),
    ("train --epohcs 3", "No such option:? '?--epohcs"),
    ("train --epochs 0", "--max-iter / --epochs must be a whole number of at least 1, got 0$"),
    ("train --epochs many", "--max-iter / --epochs must be a whole number.*, got 'many'$"),
    ("train --batch-size -1", "--batch-size must be auto or a positive whole number, got '-1'"),
    ("train --seed -1", "--seed must be a whole number of at least 0 and at most 2147483647, got -1$"),
    ("train --seed 1.5", "--seed must be a whole number of at least 0 and at most 2147483647, got '1.5'$"),
    ("train --test-fraction 2", "--test-fraction must be a number above 0 and below 1, got 2.0$"),
    ("train --lr fast", "--learning-rate-init / --lr must be a number above 0, got 'fast'$"),
    ("train iris --lr -1", "--learning-rate-init / --lr must be a number above 0, got -1.0$"),
    ("train iris --alpha -3", "--alpha must be a number of at least 0, got -3.0$"),
    ("train iris --alpha nan", "--alpha must be a number of at least 0, got 'nan'$"),
    ("train iris --tol inf", "--tol must be a number of at least 0, got 'inf'$"),
    ("train iris --dropout 1", "--dropout must be a number of at least 0 and below 1, got 1.0$"),
    ("train iris --momentum 2", "--momentum must be a number of at least 0 and at most 1, got 2.0$"),
    ("train iris --label-smoothing 2", "--label-smoothing must be a number of at least 0 and below 1, got 2.0$"),
    (
        "train iris --class-weight heavy",
        "--class-weight must be balanced or CLASS=WEIGHT, comma separated, got 'heavy'",
    ),
    ("train iris --class-weight setossa=2", "a class of --class-weight must be .*; did you mean 'setosa'?"),
    (
        "train diabetes --label-smoothing 0.1",
        "--label-smoothing belongs to a classification, and this is a regression: --task decides",
    ),
    ("train diabetes --preset medium --scoring roc_auc", "scoring must be a scorer for MLPRegressor, got 'roc_auc': "),
    ("train iris --loss squared_error", "--loss belongs to a regression, and this is a classification: --task decides"),
    ("tune iris --loss squared_error", "--loss belongs to a regression, and this is a classification: --task decides"),
    ("train iris --hidden 12,x", "--hidden must be positive whole numbers, .*, got '12,x'"),
    ("train iris --hidden 12,-3", "--hidden must be positive whole numbers"),
    ("train iris --hidden 10000000,10000000", "5 networks of 4-10000000-10000000-3 must fit in memory: it takes .* GB"),
    ("train iris --activation reluu", "activation must be .* got 'reluu'; did you mean 'relu'"),
    ("train iris --activation relu,tanh", r"activation must be one or one per hidden layer \(1\), got 2"),
    ("train --solver adem", "--solver must be .* got 'adem'; did you mean 'adam'"),
    ("train --task clasification", "--task must be .*; did you mean 'classification'"),
    ("train iris --solver lbfgs --checkpoint c.safetensors", "checkpoint needs a stochastic solver"),
    (
        "train iris --preset best --solver lbfgs",
        "--solver lbfgs lowers one loss that is the same in every step, without "
        "--ensemble 5, --folds and --dropout 0.15, which --preset best sets: it needs --ensemble 1 --no-folds "
        "--dropout 0",
    ),
    ("train iris --solver newton-cg --dropout 0.2", "step, without --dropout 0.2: it needs --dropout 0"),
    ("train iris --solver lbfgs --input-dropout 0.2", "without --input-dropout 0.2: it needs --input-dropout 0"),
    ("train iris --input-dropout 1", "--input-dropout must be a number of at least 0 and below 1, got 1.0$"),
    ("train iris --max-norm 0", "--max-norm must be a number above 0, got 0.0$"),
    ("train iris --solver lbfgs --max-norm 1", "--max-norm needs a stochastic solver: lbfgs minimises without"),
    (
        "train iris --preset best --ensemble 1",
        "--folds, which --preset best sets, needs --ensemble 2 or more, got 1; --no-folds goes without",
    ),
    (
        "train iris --preset best --no-early-stopping",
        "--folds, which --preset best sets, needs --early-stopping, .*; --no-folds goes without",
    ),
    ("train iris --folds", "^error: --folds needs --ensemble 2 or more"),
    (
        "train iris --preset best --ensemble 100",
        "iris: --folds deals at least 2 rows to each of 100 networks, and "
        "there are 120 rows to train on: --preset medium needs fewer",
    ),
    ("train iris --resume", "--resume needs a --checkpoint to continue from, got none"),
    (
        "train iris --dtype float23",
        "dtype must be 'bfloat16', 'float16', 'float32' or 'float64', got 'float23'; did you mean 'float32'",
    ),
    (
        "train iris --dtype bfloat16",
        "--dtype bfloat16 takes --backend torch, jax or cupy, which compute in it, got numpy",
    ),
    ("train iris --dtype float16 --backend auto", "takes --backend torch, jax or cupy, which compute in it, got auto"),
    ("tune iris --dtype float16", "--dtype float16 takes --backend torch, jax or cupy, which compute in it, got numpy"),
    ("train iris --backend nunpy", "backend must be .* got 'nunpy'; did you mean 'numpy'"),
    ("train iris --backend cupy", "backend cupy is not "),
    ("train iris --device cuda", "device of numpy must be 'cpu', got 'cuda'"),
    ("train none.npz", "none.npz can't be read: No such file or directory"),
    ("train iriss", "iriss can't be read: No such file or directory; built in are digits, iris"),
    ("train folder --picture none", "folder must hold train-images-idx3-ubyte"),
    ("train iris -o model.pkl", "--output model.pkl must end in .safetensors to be written"),
    ("train iris --picture a.jpg", "--picture a.jpg must end in .png to be written"),
    ("train iris -o none/a.safetensors", "none/a.safetensors can't be written: No such file or directory"),
    ("train iris --picture folder.png", "folder.png must be a file to write, got something else"),
    ("train iris --target species", "name columns of a table, iris has none"),
    ("train iris --checkpoint two", "--checkpoint two must end in .safetensors to be written"),
    ("train iris --config none.toml", "none.toml can't be read: No such file or directory"),
    ("predict none.safetensors iris", "none.safetensors can't be read: No such file or directory"),
    ("evaluate none.safetensors iris", "none.safetensors can't be read"),
    ("inspect none.safetensors", "none.safetensors can't be read"),
    ("export none.safetensors a.onnx", "none.safetensors can't be read"),
    ("export none.safetensors a.pb", "OUTPUT a.pb must end in .onnx to be written"),
    ("gradcheck problems.py:a iris", "DATA, iris, goes with a model, a .safetensors file, got problems.py:a"),
    ("gradcheck --backend nunpy", "backend must be .* got 'nunpy'; did you mean 'numpy'"),
    ("gradcheck --backend all --dtype double", "dtype must be 'float32' or 'float64', got 'double'"),
    ("gradcheck --dtype double", "dtype must be 'float32' or 'float64', got 'double'"),
    ("cost", "Missing argument 'SIZES...'"),
    ("cost 3", r"sizes must be at least two positive ints \(d_in, ..., d_out\), got \(3,\)"),
    ("cost 3 0", "SIZES must be a whole number of at least 1, got 0$"),
    ("cost 3 2 --n 0", "--n must be a whole number of at least 1, got 0$"),
    ("cost 3 2 --criterion squared", "criterion must be .* did you mean 'squared_error'"),
    ("cost 3 2 2 --activation reluu", "activation must be .* did you mean 'relu'"),
    ("cost 3 2 --optimizer adem", "optimizer must be .* did you mean 'adam'"),
    ("cost 3 2 --dtype float23", "dtype must be .* did you mean 'float32'"),
]


@pytest.mark.parametrize(("line", "sentence"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_exit_status_2(
    line: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("error: ")
    assert re.search(sentence, printed.err), printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.png"]  # and nothing was written


def test_a_separate_process_reports_bad_input_the_same_way(tmp_path: Path) -> None:
    ended = runs.run(tmp_path, "train", "none.npz")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: none.npz can't be read: No such file or directory\n"


BAD_TABLES = {
    "empty": (b"", "data.csv must hold a table, got an empty file"),
    "header alone": (b"a,b\n", "data.csv must have at least one row, got none"),
    "another header": (b"a,b\n1,2,3,4\n5,6,7,8\n",
                       "data.csv: line 1 must name the 4 fields that the rows have, got 2 names; --no-header leaves "),
    "one row": (b"a,b\n1,2\n", "the target 'b' must have at least 2 different .*, got only 2 in one row"),
    "one class": (b"a,b\n1,x\n2,x\n3,x\n", "the target 'b' must have at least 2 different classes, got only x"),
    "one row a class": (b"a,b\n1,x\n2,y\n3,z\n", "at least 2 rows of one class to hold some of them out, got 3"),
    "text": (b"a,b\n1,x\n2,y\nthree,x\n4,y\n", r"data.csv: row 3, column 'a' must be a number, got 'three'"),
    "infinite": (b"a,b\n1,x\n2,y\ninf,x\n4,y\n", "data.csv: row 3, column 'a' must be finite, got inf"),
    "too long a row": (b"a,b\n1,x\n2,y,3\n", "data.csv: line 3 must have 2 fields as the header has, got 3"),
    "no text": (b"a,b\n\x81\xfe,x\n", "data.csv: line 2 must be UTF-8 or cp1252; --encoding names another"),
    "identifiers": (b"id,b\n" + b"".join(b"k%d,%d\n" % (i, i % 2) for i in range(1500)),
                    "besides the target 'b', got none .* \\('id' holds 1,500 different texts in 1,500 rows\\)"),
    "10 million columns": (b"a," * 10_000_000 + b"b\n", "data.csv must have at most 100,000 columns, got 10,000,001"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "sentence"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_one_line(folder: Path, raw: bytes, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data.csv").write_bytes(raw)
    assert re.search(sentence, runs.refused(capsys, "train", "data.csv"))
    assert [path.name for path in folder.iterdir()] == ["data.csv"]


def test_for_an_unknown_target_the_nearest_column_is_offered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = runs.refused(capsys, "train", runs.write_table(folder), "--target", "prize")
    assert sentence.endswith("got 'prize'; did you mean 'price'?")
    assert sentence.startswith("houses.csv: the target must be a column, 'area'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("early_stopping = inf", "early_stopping must be true or false, got inf"),
        ("check_gradients = [[1]]", "check_gradients must be true or false, got [[1]]"),
        (f"alpha = 1{'0' * 400}", "line 1: "),
        ("max_iter = true", "line 1: "),
    ],
)
def test_a_setting_of_another_type_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (folder / "a.toml").write_text(text)
    sentence = runs.refused(capsys, "train", "iris", "--config", "a.toml")
    assert sentence.startswith("a.toml")
    assert said in sentence
    assert text.partition(" ")[0] in sentence.replace("-", "_")


@pytest.mark.parametrize("missing", ["click", "rich", "sklearn"])
def test_a_missing_extra_is_named(missing: str, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from mlp_xp.cli import main; sys.exit(main(['train']))"
    ended = subprocess.run(
        (sys.executable, "-c", program), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: the command needs {missing}: pip install 'mlp_xp[cli]'\n"
    assert list(tmp_path.iterdir()) == []


HUGE = {
    "a number": ("area", r"column 'area' must be at most 3.4e\+38 in size, as far as float32 reaches"),
    "a target": ("price", r"the target 'price' must be at most 3.4e\+38 in size, as far as float32 reaches"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_number_that_float32_does_not_reach_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    column, said = HUGE[name]
    data = runs.write_table(folder, cell=(3, column, 1e300))
    sentence = runs.refused(capsys, "train", data)
    assert re.fullmatch(f"houses.csv: row 4, {said}: training with --dtype float64 reaches further", sentence)
    np.savez("huge.npz", X=np.asarray([[1.0, 2.0], [3.0, -1e300], [0.0, 0.0]]), y=np.asarray([0, 1, 0]))
    assert runs.refused(capsys, "train", "huge.npz").startswith("huge.npz[1, 1] must be at most 3.4e+38 in size")


def test_a_solver_of_all_rows_that_has_not_converged_names_the_option_that_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_table(folder)
    for limit, others in (("--max-iter", ()), ("--max-fun", ("--max-iter", "50"))):
        assert (
            cli.main(["train", data, "--force", *runs.QUICK, "--no-refit", "--solver", "lbfgs", *others, limit, "3"])
            == 0
        )
        printed = capsys.readouterr().out
        said = rf"note: lbfgs failed to converge after \d iterations. Increase {limit}, or scale the data\n"
        assert re.search(said, printed), printed


def test_a_model_with_a_part_missing_or_of_another_type_is_one_line(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "houses.safetensors"
    path.write_bytes((model / "houses.safetensors").read_bytes())
    runs.write_table(folder)
    refused = 0
    for command in (["inspect"], ["predict", "houses.csv", "-o", "out.csv", "--force"]):
        for _ in damaged_parts.written(path, "model", one_in=40, seed=len(command)):
            status = cli.main([command[0], path.name, *command[1:]])
            printed = capsys.readouterr().err
            assert status in (0, 2), printed
            if status == 2:
                assert re.fullmatch(r"error: houses\.(safetensors|csv)[ :].*\n", printed)
                refused += 1
    assert refused > 30
