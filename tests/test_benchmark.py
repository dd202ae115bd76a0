"""The benchmark of speed: its sides take the same steps, what does not fit is refused, a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import benchmark
import benchmark_report as report
import benchmark_sides as sides
import pytest

SETTING = sides.Setting((12, 5, 6, 3), "float64")
# what is compared with the textbook's code here; every run of the benchmark compares all sides before it times them
SIDES_OF = {
    "numpy": ("ours-numpy", "sklearn"),
    "torch": ("ours-torch", "torch"),
    "jax": ("ours-jax-compiled", "jax"),
}


def first_results(side: str, workload: str) -> list[float | None]:
    run, _ = sides.make(side, workload, SETTING)
    return [sides.number(run()[0]) for _ in range(3)]


@pytest.mark.only(*SIDES_OF)
@pytest.mark.parametrize("workload", ["sgd", "adam", "predict"])
def test_all_sides_take_the_same_steps(backend: str, xp: Any, workload: str) -> None:
    for side in SIDES_OF[backend]:
        assert first_results(side, workload) == pytest.approx(first_results("textbook", workload), rel=1e-12), side


@pytest.mark.only("numpy")
@pytest.mark.parametrize("workload", ["epoch", "gradcheck"])
def test_epochs_and_checks_are_the_same(workload: str) -> None:
    assert first_results("ours-numpy", workload) == pytest.approx(first_results("textbook", workload), rel=1e-12)


@pytest.mark.only("numpy")
def test_a_side_that_takes_another_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right, again = first_results("textbook", "sgd"), first_results("ours-numpy", "sgd")
    monkeypatch.setitem(sides.RATES, "sgd", 0.1001)
    wrong = first_results("ours-numpy", "sgd")
    for dtype in ("float32", "float64"):
        setting = SETTING._replace(dtype=dtype)
        assert benchmark.agree(setting, right, again)
        assert not benchmark.agree(setting, right, wrong)


@pytest.mark.only("numpy")
def test_a_run_is_kept_whole_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results.json"
    # the first side can't go through so many entries one by one; the rest goes on
    asked = ["--quick", "--rounds", "1", "--save", str(file), "--only", "textbook", "ours-numpy", "sgd", "gradcheck"]
    assert benchmark.main([*asked, "12,500,30,3"]) == 0
    printed, found = capsys.readouterr().out, json.loads(file.read_text("utf-8"))
    assert "textbook, gradcheck at (12, 500, 30, 3) in float64: ValueError: 15,123 entries" in printed
    assert "| 12, 500, 30, 3 |" in printed
    assert [(row["workload"], sorted(row["seconds"])) for row in found["rows"]] == [
        ("sgd", ["ours-numpy", "textbook"]),
        ("gradcheck", ["ours-numpy"]),
    ]
    assert all(len(seconds) == 1 for row in found["rows"] for seconds in row["seconds"].values())
    assert found["machine"]["commit"]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    monkeypatch.setattr(benchmark, "Worker", None)  # nothing is measured again
    assert benchmark.main([*asked, "12,500,30,3"]) == 0
    assert json.loads(file.read_text("utf-8"))["rows"] == found["rows"]
    file.write_text("{")
    with pytest.raises(TypeError, match="not callable"):
        benchmark.main([*asked, "12,500,30,3"])
    assert "the run begins anew" in capsys.readouterr().out


def row_of(workload: str, size: tuple[int, ...], **seconds: list[float]) -> dict[str, Any]:
    named = {side.replace("_", "-"): each for side, each in seconds.items()}
    setting = {**sides.Setting(size, "float32")._asdict(), "size": list(size)}
    return {"workload": workload, **setting, "seconds": named, "refused": {}}


RESULTS = {
    "rows": [
        row_of("sgd", report.SMALL, products=[1e-6, 1e-6], textbook=[3e-6, 5e-6], ours_numpy=[3.3e-6, 6.1e-6]),
        row_of("sgd", report.WIDE, products=[1e-3], textbook=[1.2e-3], ours_numpy=[1.3e-3], torch=[2e-3]),
        row_of("adam", report.WIDE, ours_numpy=[1.95e-3]),
    ]
}


@pytest.mark.only("numpy")
def test_ratios_are_judged_round_by_round() -> None:
    text = report.targets(RESULTS)
    assert "| ours NumPy (sgd) over textbook NumPy (sgd) | 32, 4, 16, 3 | 1.160 | 1.130-1.190 | 1.4 | ok |" in text
    assert (
        "| ours NumPy (sgd) over textbook NumPy (sgd) | 256, 784, 800, 10 | 1.083 | 1.083-1.083 | 1.03 | over |" in text
    )
    assert "| ours NumPy (adam) over ours NumPy (sgd) | 256, 784, 800, 10 | 1.500 | 1.500-1.500 | 1.3 | over |" in text
    assert "not run: ours JAX, jit (sgd) over JAX jit autodiff (sgd) at 6 sizes" in text
    assert "CuPy" not in text  # targets of a GPU are judged on one


@pytest.mark.only("numpy")
def test_the_table_and_the_picture_show_every_side(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert "| 32, 4, 16, 3 | 1.0 | 4.0 | 4.7 | - |" in report.tables(RESULTS)
    found = report.curves(RESULTS)
    work = 2 * 256 * (2 * 784 * 800 + 3 * 800 * 10)
    assert found["torch"] == [(work, pytest.approx(2.0))]
    assert [round(over, 2) for _, over in found["ours-numpy"]] == [4.7, 1.3]
    report.plot(RESULTS, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.only("numpy")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sizes", "32,4"], "a size must be four whole numbers n,D,H,C such as 32,4,16,3, got '32,4'"),
        (["--only", "sgdd"], "got 'sgdd'"),
        (["--device", "cuda"], "--device cuda takes an NVIDIA GPU, and nvidia-smi finds none"),
        (["--precision", "tf32"], "--precision other than float32 takes a GPU: --device cuda"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "_said_by", lambda *command: None)  # a machine without a GPU
    with pytest.raises(SystemExit):
        benchmark.main(arguments)
    assert sentence in capsys.readouterr().err
