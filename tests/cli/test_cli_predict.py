"""``mlp-xp predict``: files in four formats, and data that the model does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import runs
from runs import cli, pandas

pytestmark = pytest.mark.only("numpy")


@pytest.mark.parametrize("backend", ["numpy", "array_api_strict"])
def test_predictions_go_to_csv_parquet_npz_and_into_a_pipe(
    model: Path, folder: Path, backend: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    arguments = ["predict", str(model / "houses.safetensors"), str(model / "houses.csv"), "--proba"]
    arguments += ["--backend", backend]
    for name in ("out.csv", "out.parquet", "out.npz"):
        assert cli.main([*arguments, "--rows", "50", "-o", name]) == 0
    capfdbinary.readouterr()
    # as many rows at a time: in float32 a product of matrices rounds as its shape wants it
    if backend == "numpy":
        assert runs.run(folder, *arguments, "--rows", "50").stdout == Path("out.csv").read_text()
    csv, parquet = pandas.read_csv("out.csv"), pandas.read_parquet("out.parquet")
    assert list(csv.columns) == ["predicted_district", "probability_north", "probability_south"]
    assert (csv["predicted_district"] == parquet["predicted_district"]).all()
    with np.load("out.npz") as arrays:
        assert (arrays["prediction"] == csv["predicted_district"]).all()
        np.testing.assert_allclose(arrays["probability"], csv.to_numpy()[:, 1:].astype(float), rtol=1e-6)
        np.testing.assert_allclose(arrays["probability"].sum(axis=1), 1.0, rtol=1e-6)


def test_data_to_predict_must_have_the_columns_of_the_training(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(model / "houses.safetensors")
    data = runs.write_table(folder, cell=(5, "rooms", "many"))
    sentence = runs.refused(capsys, "predict", path, data, "-o", "out.csv")
    assert "houses.csv: row 6, column 'rooms' must be a number, got 'many'" in sentence
    data = runs.write_table(folder, cell=(5, "rooms", 1e300))
    sentence = runs.refused(capsys, "predict", path, data, "-o", "out.csv")
    assert sentence.startswith("houses.csv: row 6, column 'rooms' must be at most 3.4e+38 in size, as far as float32")
    (folder / "other.csv").write_text("aera,rooms,price\n1,2,3\n")
    sentence = runs.refused(capsys, "predict", path, "other.csv", "-o", "out.csv")
    assert sentence.startswith("other.csv must have the column ")
    assert (
        "the column 'area', which the model was trained on; it has 'aera', 'rooms', 'price'; did you mean 'aera'?"
        in sentence
    )
    (folder / "none.csv").write_text("area,rooms,price\n")
    assert "none.csv must have at least one row" in runs.refused(capsys, "predict", path, "none.csv", "-o", "out.csv")
    assert "must be a table" in runs.refused(capsys, "predict", path, "iris", "-o", "out.csv")
    assert not (folder / "out.csv").exists()


OLD = Path(__file__).parent / "written_by_0_1_0"
"""Two models whose recipes hold the scales, made by ``mlp-xp train houses.csv --missing fill``, and what they said."""


@pytest.mark.parametrize("target", ["price", "kind"])
def test_a_model_whose_scales_are_in_its_recipe_predicts_what_it_did(folder: Path, target: str) -> None:
    assert cli.main(["predict", str(OLD / f"{target}.safetensors"), str(OLD / "houses.csv"), "-o", "now.csv"]) == 0
    then, now = (pandas.read_csv(path)[f"predicted_{target}"] for path in (OLD / f"{target}.csv", "now.csv"))
    if target == "kind":
        assert then.tolist() == now.tolist()
    else:
        # 12 rounded steps in float32, and a price of a million is 0.06 from its neighbour
        np.testing.assert_allclose(now, then, rtol=12 * np.finfo(np.float32).eps)


def test_columns_of_the_data_are_kept_as_they_are(model: Path, folder: Path) -> None:
    path, ids = str(model / "houses.safetensors"), [f"{number:05}" for number in range(120)]
    data = runs.write_table(folder, id=ids)
    for name in ("out.csv", "out.parquet", "out.npz"):
        assert cli.main(["predict", path, data, "--keep", "id", "--keep", "rooms", "-o", name, "--rows", "50"]) == 0
    csv, parquet = pandas.read_csv("out.csv", dtype=str), pandas.read_parquet("out.parquet")
    there = pandas.read_csv(data, dtype=str)
    assert list(csv.columns) == list(parquet.columns) == ["id", "rooms", "predicted_district"]
    assert csv["id"].tolist() == there["id"].tolist() == ids
    assert csv["rooms"].tolist() == parquet["rooms"].astype(str).tolist() == there["rooms"].tolist()
    with np.load("out.npz") as arrays:
        assert arrays["rooms"].astype(str).tolist() == there["rooms"].tolist()
        assert (arrays["prediction"] == parquet["predicted_district"]).all()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_all_columns_are_kept_with_a_gap_where_a_value_is_missing(model: Path, folder: Path, suffix: str) -> None:
    data = runs.write_table(folder, f"houses{suffix}", remark=["good, quiet", None] * 60)
    path = str(model / "houses.safetensors")
    assert cli.main(["predict", path, data, "--keep", "all", "--proba", "-o", "out.csv"]) == 0
    text = {"dtype": str, "keep_default_na": False}  # as it is in a text file
    there = pandas.read_csv(data, **text) if suffix == ".csv" else pandas.read_parquet(data)
    kept = pandas.read_csv("out.csv", **(text if suffix == ".csv" else {}))
    assert list(kept.columns[:6]) == [*there.columns, "predicted_district"]
    gap = {"remark": "gap"}  # None or NaN, as the version of pandas has it
    there = there.fillna(gap)
    pandas.testing.assert_frame_equal(kept[there.columns].fillna(gap), there, check_dtype=False)
    assert cli.main(["predict", path, data, "--keep", "all", "-o", "out.parquet"]) == 0
    again = pandas.read_parquet("out.parquet")
    pandas.testing.assert_frame_equal(again[there.columns].fillna(gap), there, check_dtype=False)


def test_columns_of_arrays_with_names_are_kept(folder: Path) -> None:
    runs.train_quickly("iris")
    assert cli.main(["predict", "iris.safetensors", "iris", "--keep", "petal width (cm)", "-o", "out.csv"]) == 0
    assert pandas.read_csv("out.csv")["petal width (cm)"].tolist()[:2] == [0.2, 0.2]


def test_a_column_that_cannot_be_kept_is_named(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, data = str(model / "houses.safetensors"), runs.write_table(folder, predicted_district=["north"] * 120)
    sentence = runs.refused(capsys, "predict", path, data, "--keep", "romos")
    assert sentence.startswith("houses.csv: --keep must be a column, ")
    assert sentence.endswith("got 'romos'; did you mean 'rooms'?")
    sentence = runs.refused(capsys, "predict", path, data, "--keep", "all")
    assert sentence == "houses.csv has a column 'predicted_district', as the predictions are called: --keep others"
    runs.train_quickly(runs.write_classes(folder))
    sentence = runs.refused(capsys, "predict", "small.safetensors", "small.npz", "--keep", "id")
    assert sentence == "--keep names columns of a table, small.npz has none"


def test_what_a_model_has_not_is_said_with_what_would(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = runs.write_table(folder)
    runs.train_quickly(data, "--no-refit")
    for option, sentence in (
        ("--std", "houses.safetensors has no std: train with --loss gaussian, or an --ensemble, for --std"),
        (
            "--quantiles=0.1",
            "houses.safetensors has no quantiles: train with --loss quantile or gaussian for --quantiles",
        ),
        ("--proba", "houses.safetensors has no probabilities: it is a regression"),
    ):
        assert runs.refused(capsys, "predict", "houses.safetensors", data, option) == sentence
    pandas.read_csv(data).drop(columns="price").to_csv("new.csv", index=False)
    assert runs.refused(capsys, "evaluate", "houses.safetensors", "new.csv") == (
        "new.csv must have the target, column 'price', to judge a model by; it has 'area', 'rooms', 'district'"
    )
    sentence = runs.refused(capsys, "inspect", "houses.safetensors", "--target", "price")
    assert sentence.startswith("houses.safetensors is a model, which says itself how it reads")


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("kind", ["data", "model"])
def test_what_is_read_is_never_overwritten(
    model: Path, folder: Path, kind: str, link: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_table(folder)
    (folder / "model.csv").write_bytes((model / "houses.safetensors").read_bytes())  # a model of any name is read
    read = folder / (data if kind == "data" else "model.csv")
    before, output = read.read_bytes(), folder / "out.csv"
    if link is None:
        output = read
    else:
        getattr(output, link)(read)
    sentence = runs.refused(capsys, "predict", "model.csv", data, "-o", str(output), "--force")
    assert sentence == f"{output} is what is read ({read.name}): write to another file, --force or not"
    assert read.read_bytes() == before


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the price of houses, whose training had two districts and some rooms missing."""
    folder = tmp_path_factory.mktemp("priced")
    runs.write_table(folder, rooms=[None, 2, 3] * 40)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        runs.train_quickly("houses.csv", "--target", "price", "--missing", "auto")
    return folder / "houses.safetensors"


STRANGE = "area,rooms,district\n50,2,north\n60,,east\n,3,west\n,3,far east\n70,2,east\n"


def test_categories_and_missing_values_that_are_new_are_counted(
    priced: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "new.csv").write_text(STRANGE)
    assert cli.main(["predict", str(priced), "new.csv", "-o", "out.csv", "--rows", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "wrote 5 rows to out.csv\n"
    assert printed.err == (
        "note: categories that the training did not have are in 'district' (4 rows: 'east', 'west', ...); "
        "missing values were filled in, in 'area' (2 rows), 'rooms' (1 row)\n"
    )
    assert len(pandas.read_csv("out.csv")) == 5
    sentence = runs.refused(capsys, "predict", str(priced), "new.csv", "--unknown", "refuse", "-o", "never.csv")
    assert sentence.startswith("new.csv: row 2, column 'district' must be 'north' or 'south', got 'east'")
    assert sentence.endswith("; train or predict with --unknown level takes it for none of them")
    assert not (folder / "never.csv").exists()


def test_counts_go_to_stderr_and_leave_the_printed_table_alone(
    priced: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "new.csv").write_text(STRANGE)
    assert cli.main(["predict", str(priced), "new.csv", "--keep", "district"]) == 0
    printed = capfd.readouterr()
    assert [line.partition(",")[0] for line in printed.out.splitlines()] == [
        "district", "north", "east", "west", "far east", "east",
    ]  # fmt: skip
    assert printed.err.startswith("note: categories that the training did not have")


@pytest.mark.parametrize(("target", "more"), [("district", ("--proba",)), ("price", ("--std", "--quantiles", "0.1"))])
def test_a_model_of_complete_rows_predicts_its_own_training_file_with_gaps(
    folder: Path, target: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    area = np.arange(120) * 1.5
    gone = np.arange(120) % 50 < 20  # all of the first rows that are read, some of the next
    data = runs.write_table(folder, area=np.where(gone, np.nan, area), price=area + 0.5)
    loss = ("--loss", "gaussian") if target == "price" else ()
    runs.train_quickly(data, "--target", target, "--missing", "drop", *loss)
    for name in ("out.csv", "out.parquet", "out.npz"):
        arguments = ("predict", "houses.safetensors", data, "--keep", "rooms", *more, "--rows", "20", "-o", name)
        assert cli.main([*arguments, "--force"]) == 0
        printed = capsys.readouterr()
        assert printed.out == f"wrote 120 rows to {name}\n"
        assert printed.err == "note: 60 rows with a missing value can't be predicted: the prediction is empty\n"
    csv, parquet = pandas.read_csv("out.csv"), pandas.read_parquet("out.parquet")
    assert csv["rooms"].tolist() == pandas.read_csv(data)["rooms"].tolist()
    pandas.read_csv(data)[~gone].to_csv("whole.csv", index=False)
    assert cli.main(["predict", "houses.safetensors", "whole.csv", *more, "-o", "all.csv"]) == 0
    there = pandas.read_csv("all.csv")
    assert len(there.columns) == 3
    for name in there.columns:
        for found in (csv[name], parquet[name]):
            assert found.isna().tolist() == gone.tolist()
            if there[name].dtype.kind == "f":
                np.testing.assert_allclose(found[~gone], there[name], rtol=1e-5)
            else:
                assert found[~gone].tolist() == there[name].tolist()
    with np.load("out.npz") as arrays:
        said, others = arrays["prediction"], arrays["probability" if target == "district" else "quantiles"]
    assert ((said == "") if target == "district" else np.isnan(said)).tolist() == gone.tolist()
    assert np.isnan(others).all(axis=1).tolist() == np.isnan(others).any(axis=1).tolist() == gone.tolist()
    assert cli.main(["evaluate", "houses.safetensors", data, "--json"]) == 0
    assert '"dropped": 60' in capsys.readouterr().out
    pandas.read_csv(data)[gone].to_csv("gaps.csv", index=False)
    assert cli.main(["predict", "houses.safetensors", "gaps.csv", "-o", "gaps_out.csv"]) == 0
    assert pandas.read_csv("gaps_out.csv", skip_blank_lines=False)[f"predicted_{target}"].isna().sum() == 60
    sentence = runs.refused(capsys, "evaluate", "houses.safetensors", "gaps.csv")
    assert sentence == "gaps.csv must have a row with a value in every column of the model, got 60 rows without"


def test_train_and_export_never_overwrite_what_they_read(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_table(folder)
    (folder / "houses.png").hardlink_to(folder / data)
    sentence = runs.refused(capsys, "train", data, "--force")
    assert sentence == "houses.png is what is read (houses.csv): write to another file, --force or not"
    (folder / "houses.onnx").symlink_to(model / "houses.safetensors")
    sentence = runs.refused(capsys, "export", str(model / "houses.safetensors"), "houses.onnx", "--force")
    assert sentence.startswith("houses.onnx is what is read (")
