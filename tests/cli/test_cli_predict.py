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
    (folder / "other.csv").write_text("aera,rooms,price\n1,2,3\n")
    sentence = runs.refused(capsys, "predict", path, "other.csv", "-o", "out.csv")
    assert sentence.startswith("other.csv: what the model was trained on must be a column")
    assert "got 'area'; did you mean 'aera'?" in sentence
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
