"""Recipes: missing values, rare and unknown categories, targets as they are spelled, bins, notes, memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables_in_memory import pd, texts, typed

from mlp_xp import data
from mlp_xp.data import recipe as recipes
from mlp_xp.data.piecewise import edges_of, filled_bins
from mlp_xp.data.recipe import Recipe, Wanted, learn, read
from mlp_xp.data.source import Chunk, Reading, Source

pytestmark = pytest.mark.only("numpy")


def rows(recipe: Recipe, frame: dict[str, list[Any]], **options: Any) -> recipes.Encoded:
    """Rows to predict, of a typed table."""
    return recipe.rows("new.parquet", Chunk(pd.DataFrame(frame), None, 0), **{"labelled": False, **options})


Y = ["1.5", "2.5", "0.5", "3.5", "4.5", "2.25"]

# --- missing values ----------------------------------------------------------------------------------------------

HOLES = {"n": ["1", "", "3", "8", "?", "2"], "c": ["u", "v", "", "u", "v", "u"], "w": ["1", "2", "3", "5", "8", "9"],
         "y": ["1.5", "2.5", "0.5", "", "4.5", "2.25"]}  # fmt: skip


def test_missing_numbers_get_the_median_and_a_column_categories_a_level_and_rows_without_a_target_go() -> None:
    learned = learn(texts(HOLES), Wanted())
    assert learned.notes == (
        "values are missing in 'n' (2 rows), 'c' (1 row): numbers get the median and a column that says so, categories "
        "a level of their own; 1 row without a target is dropped; --missing decides otherwise",
    )
    recipe = learned.recipe
    assert recipe.names == ("n", "n missing", "c=u", "c=v", "c missing", "w")
    encoded = read(texts(HOLES), recipe)
    assert encoded.kept.tolist() == [0, 1, 2, 4, 5]
    assert encoded.missing == {"n": 2}
    recipe = recipe.learn_fill(encoded.X[:3])  # the training rows: 1, none, 3
    expected = [[1, 0, 1, 0, 0, 1], [2, 1, 0, 1, 0, 2], [3, 0, 0, 0, 1, 3], [2, 1, 0, 1, 0, 8], [2, 0, 1, 0, 0, 9]]
    np.testing.assert_array_equal(recipe.filled(encoded.X), expected)
    np.testing.assert_array_equal(encoded.y, [1.5, 2.5, 0.5, 4.5, 2.25])
    whole = encoded.X[:1]
    assert recipe.filled(whole) is whole


def test_a_mark_for_a_missing_number_is_no_value_of_its_own() -> None:
    columns = learn(texts({"n": ["1", "-", "3", "4", ".", "4"], "c": ["u", "-", "v", "u", "v", "-"], "y": Y}), Wanted())
    counts = [(each.values, each.missing, each.distinct) for each in columns.columns]
    assert counts == [(4, 2, 3), (6, 0, 3), (6, 0, 6)]


def test_a_value_missing_for_the_first_time_gets_the_median_and_is_counted() -> None:
    source = texts({"n": ["1", "2", "9"], "c": ["u", "v", "u"], "y": ["1.5", "2.5", "0.5"]})
    recipe = learn(source, Wanted()).recipe
    recipe = recipe.learn_fill(read(source, recipe).X)
    encoded = rows(recipe, {"n": [None, 4.0], "c": ["u", None]})
    assert encoded.missing == {"n": 1, "c": 1}
    np.testing.assert_array_equal(recipe.filled(encoded.X), [[2, 1, 0], [4, 0, 0]])


def test_missing_values_may_be_refused_dropped_or_filled_with_the_mean() -> None:
    refused = learn(texts(HOLES), Wanted(missing="refuse")).recipe
    with pytest.raises(
        ValueError, match=r"^data.csv: row 4, column 'y', the target, is missing; train with --missing drop leaves"
    ):
        read(texts(HOLES), refused)
    whole = {**HOLES, "y": ["1.5", "2.5", "0.5", "1.5", "4.5", "2.25"]}
    sentence = (
        r"^data.csv: row 2, column 'n' is missing \(in 2 rows of this column\); train with --missing auto takes it "
        "for a value of its own, --missing fill puts the mean there, --missing drop leaves such rows out$"
    )
    with pytest.raises(ValueError, match=sentence):
        read(texts(whole), refused)
    dropped = read(texts(HOLES), learn(texts(HOLES), Wanted(missing="drop")).recipe)
    assert (dropped.kept.tolist(), dropped.missing) == ([0, 5], {})
    with pytest.raises(ValueError, match=r"^new.parquet: row 1, column 'n' is missing"):
        rows(refused._replace(missing="drop"), {"n": [None], "c": ["u"], "w": [1]})
    filled = learn(texts(whole), Wanted(missing="fill")).recipe
    X = read(texts(whole), filled).X
    filled = filled.learn_fill(X)
    np.testing.assert_allclose(filled.filled(X)[1], [3.5, 0, 1, 2])  # the mean of 1, 3, 8 and 2
    np.testing.assert_allclose(filled.filled(X)[2], [3, 0.6, 0.4, 3])


# --- categories --------------------------------------------------------------------------------------------------


def many_cities() -> dict[str, list[str]]:
    """25 cities of four rows each, and two of one row each."""
    cities = [f"city {number}" for number in range(25)] * 4 + ["hamlet", "farm"]
    return {"city": cities, "y": [str(number % 7 + 0.5) for number in range(len(cities))]}


def test_rare_categories_share_a_level_and_unknown_ones_go_to_it() -> None:
    learned = learn(texts(many_cities()), Wanted())
    recipe = learned.recipe
    assert learned.notes == (
        "column 'city' holds 27 categories, the 2 rarest of which, in 2 rows, are taken together for one, 'other'",
    )
    assert learned.columns[0].taken_for == "27 categories"
    assert recipe.names[-1] == "city other"
    assert len(recipe.names) == 26
    encoded = read(texts(many_cities()), recipe)
    assert encoded.unknown == {}
    assert encoded.X[-2:, -1].tolist() == [1, 1]
    new = rows(recipe, {"city": ["city 3", "farm", "moon"]})
    assert new.unknown == {"city": 1}
    assert new.X[:, -1].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(new.X.sum(axis=1), [1, 1, 1])


def test_an_unknown_category_is_a_row_of_zeros_where_no_level_is_shared_or_is_refused() -> None:
    source = texts({"c": ["north", "south", "north", "south"], "y": ["1.5", "2.5", "0.5", "3"]})
    found = rows(learn(source, Wanted()).recipe, {"c": ["south", "west"]})
    assert found.unknown == {"c": 1}
    np.testing.assert_array_equal(found.X, [[0, 1], [0, 0]])
    strict = learn(source, Wanted(unknown="refuse")).recipe
    with pytest.raises(ValueError, match=r"^new.parquet: row 2, column 'c' must be 'north' or 'south', got 'west'; "
                       "train or predict with --unknown level takes it for none of them$"):  # fmt: skip
        rows(strict, {"c": ["south", "west"]})


def test_of_very_many_categories_the_most_frequent_get_a_column_each() -> None:
    names = [f"n{number}" for number in range(1200)]
    values = [*names, *names, *names, *names[:300]]
    source = texts({"c": values, "y": [str(number % 7 + 0.5) for number in range(len(values))]})
    (column,) = learn(source, Wanted()).recipe.columns or ()
    assert len(column.categories) == 1000
    assert set(names[:300]) < set(column.categories)
    assert len(column.rare) == 200


def test_a_parquet_column_of_whole_numbers_with_a_missing_value_has_the_categories_of_the_text_file() -> None:
    source = texts({"c": ["6", "7", "6", "7"], "y": ["1.5", "2.5", "0.5", "3"]})
    recipe = learn(source, Wanted(categories=("c",))).recipe
    assert recipe.names == ("c=6", "c=7")
    np.testing.assert_array_equal(rows(recipe, {"c": [6.0, np.nan, 7.0]}).X, [[1, 0], [np.nan, np.nan], [0, 1]])
    for values in (["6.0", "7"], [6, 7], [6.0, 7.0], pd.Series([6, 7], dtype="Int64"), pd.Categorical([6, 7])):
        encoded = rows(recipe, {"c": values})  # type: ignore[dict-item]
        assert encoded.unknown == {}
        np.testing.assert_array_equal(encoded.X, np.eye(2))


def test_truth_values_are_the_same_from_any_file() -> None:
    source = texts({"t": ["TRUE", "FALSE", "TRUE", "FALSE"], "y": ["1.5", "2.5", "0.5", "3"]})
    recipe = learn(source, Wanted()).recipe
    assert recipe.names == ("t",)
    for values in (["True", "False"], ["true", "false"], [True, False], [1, 0], ["1", "0"]):
        np.testing.assert_array_equal(rows(recipe, {"t": values}).X, [[1], [0]])
    with pytest.raises(ValueError, match=r"^new.parquet: row 1, column 't' must be a number, got 'maybe'"):
        rows(recipe, {"t": ["maybe"]})


def test_a_column_of_the_training_that_is_not_there_is_named() -> None:
    recipe = learn(texts({"area": ["1", "2", "4"], "y": ["1.5", "2.5", "0.5"]}), Wanted()).recipe
    trained = "^new.parquet must have the column 'area', which the model was trained on; it has"
    with pytest.raises(ValueError, match=f"{trained} 'b', 'aera'; did you mean 'aera'"):
        rows(recipe, {"b": [1], "aera": [1]})
    with pytest.raises(ValueError, match=f"{trained} 'd'$"):
        rows(recipe, {"d": [1]})
    values = "'70.5'; --no-header takes that for a row, and the columns for those of the training in order$"
    with pytest.raises(ValueError, match=f"{trained} {values}"):
        rows(recipe, {"70.5": [1]})


# --- targets -----------------------------------------------------------------------------------------------------

X = [str(number + 0.5) for number in range(6)]


@pytest.mark.parametrize(
    ("spelled", "later", "labels"),
    [
        (["TRUE", "FALSE"], [True, False], ["TRUE", "FALSE"]),
        (["True", "False"], ["TRUE", "false"], ["True", "False"]),
        (["00001", "1"], ["00001", "1"], ["00001", "1"]),
        (["x", "y"], ["x", "y"], ["x", "y"]),
        (["1", "2"], [1.0, 2.0], [1, 2]),
        (["1.0", "2.0"], [1, 2], ["1.0", "2.0"]),
        (["+1", "-1"], [1.0, -1.0], ["+1", "-1"]),
        (["$1", "$2"], ["1", "2"], [1, 2]),
    ],
    ids=lambda values: " ".join(map(str, values)),
)
def test_labels_are_those_of_the_training_from_any_file(
    spelled: list[str], later: list[Any], labels: list[Any]
) -> None:
    source = texts({"x": X, "y": spelled * 3})
    learned = learn(source, Wanted())
    assert learned.recipe.task == "classification"
    y = read(source, learned.recipe).y
    assert y is not None
    assert y.tolist() == labels * 3
    new = rows(learned.recipe, {"x": [1.0, 2.0], "y": later}, labelled=True)
    assert new.y is not None
    assert new.y.tolist() == labels
    assert new.y.dtype.kind == y.dtype.kind


def test_a_label_that_is_not_known_is_handed_on_as_it_is() -> None:
    recipe = learn(texts({"x": X, "y": ["a", "b"] * 3}), Wanted()).recipe
    new = rows(recipe, {"x": [1.0], "y": ["c"]}, labelled=True)
    assert new.y is not None
    assert new.y.tolist() == ["c"]


def test_a_target_with_currency_or_a_decimal_comma_is_a_number() -> None:
    for values, decimal in ((["$1,234.50", "$2", "$3.25"] * 2, "."), (["1.234,5", "2", "3,25"] * 2, ","),
                            (["1234,5", "2", "3,25"] * 2, "."),
                            (["1,234.5 km", "2 km", "3.25km"] * 2, ".")):  # fmt: skip
        source = texts({"x": X, "y": values}, decimal)
        learned = learn(source, Wanted())
        assert (learned.recipe.task, learned.columns[1].taken_for) == ("regression", "target: number")
        np.testing.assert_array_equal(read(source, learned.recipe).y, [1234.5, 2, 3.25] * 2)


TARGETS = {
    "whole numbers": (["1", "2"] * 12, None, "classification", "the target 'y' holds 2 different whole numbers"),
    "fractions": (["1.5", "2"] * 12, None, "regression", "the target 'y' holds numbers with fractions"),
    "texts": (["a", "b"] * 12, None, "classification", "the target 'y' holds 2 different texts"),
    "truth values": (["TRUE", "FALSE"] * 12, None, "classification", "the target 'y' holds 2 different texts"),
    "whole numbers, many": ([str(n) for n in range(24)], None, "regression",
                            "the target 'y' holds 24 different numbers"),
    "whole numbers, each once": (["58", "59", "60", "61"], None, "regression",
                                 "the target 'y' holds 4 different numbers"),
    "as asked": ([str(n) for n in range(24)], "classification", "classification", "the target 'y', as --task says"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "task", "found", "reason"), TARGETS.values(), ids=TARGETS)
def test_the_task_is_inferred_with_a_reason(values: list[str], task: str | None, found: str, reason: str) -> None:
    x = [str(number * 0.5) for number in range(len(values))]
    learned = learn(texts({"x": x, "y": values}), Wanted(task=task))
    assert (learned.recipe.task, learned.reason) == (found, reason)


NAMES = [f"car {number}" for number in range(24)]
BAD_TARGETS = {
    "names": (NAMES, None,
              "data.csv: the target 'y' holds 24 different texts in 24 rows, most of them seen once or twice; --target "
              "names another column, such as 'x' and 'z', --task classification learns it all the same"),
    "dates": ([f"2020-01-{day:02}" for day in range(1, 25)], None,
              "data.csv: the target 'y' holds dates, which can't be learned; --target names another column, such as "
              "'x' and 'z'"),
    "nothing": ([""] * 24, None, "data.csv: the target 'y' must have a value, it is missing in all rows"),
    "one class": (["a"] * 24, None,
                  "data.csv: the target 'y' must have at least 2 different classes, got only a in all 24 rows; "
                  "--target names another column, such as 'x' and 'z'"),
    "every row a class": (["a", "b", "c"], None,
                          "data.csv: the target 'y' must have at least 2 rows of one class to hold some of them out, "
                          "got 3 classes in 3 rows; --target names another column, such as 'x' and 'z'"),
    "one number": (["7"] * 24, "regression",
                   "data.csv: the target 'y' must have at least 2 different values, got only 7 in all 24 rows; "
                   "--target names another column, such as 'x' and 'z'"),
    "text to regress": (["a", "b"] * 12, "regression", "data.csv: the target 'y' must hold numbers for a "
                        "regression, got 'a'; --target names another column, such as 'x' and 'z'"),
    "fractions as classes": (["1", "1.5"] * 12, "classification",
                             "data.csv: the target 'y' must hold whole numbers or texts for a classification, got 1.5; "
                             "--target names another column, such as 'x' and 'z'"),
    "text among numbers": (["1.5", "2.5", "many", *["1"] * 21], None,
                           "data.csv: row 3, column 'y' must be a number, got 'many'; --category 'y' takes all of it "
                           "for categories, --na 'many' takes it for a missing value"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "task", "sentence"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_a_target_that_cannot_be_learned_is_refused(values: list[str], task: str | None, sentence: str) -> None:
    x = [str(number * 0.5) for number in range(len(values))]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared below
        learn(texts({"x": x, "z": x[::-1], "y": values}), Wanted(task=task))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "values", [("1e308", "-1e308"), ("10000000000000000000", "20000000000000000000"), ("9007199254740994", "1")]
)
def test_classes_that_float64_does_not_tell_apart_are_refused_unless_they_are_texts(values: tuple[str, str]) -> None:
    source = texts({"x": [str(number * 0.5) for number in range(24)], "y": [*values] * 12})
    with pytest.raises(ValueError, match=r"^data.csv: row 1, column 'y', the target, must be below 2\^53 in size, "):
        read(source, learn(source, Wanted()).recipe)
    y = read(source, learn(source, Wanted(categories=("y",))).recipe).y
    assert set(y) == set(values)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([str(n) for n in range(1000, 1080)], "counts the rows"),
        ([f"{n}.0" for n in range(80)], "counts the rows"),
        ([str(842302 + 17 * (n * 7 % 80)) for n in range(80)], "holds a number of its own in every row"),
    ],
)
def test_a_target_that_counts_the_rows_is_refused_unless_it_is_named(values: list[str], what: str) -> None:
    source = texts({"x": [str(n % 7 + 0.5) for n in range(80)], "id": values})
    with pytest.raises(ValueError, match="the last column") as caught:
        learn(source, Wanted())
    assert str(caught.value) == (
        f"data.csv: the target 'id', the last column, {what}, as an identifier does; --target names another column, "
        "such as 'x', or this one if it is meant"
    )
    assert learn(source, Wanted(target="id")).notes == (f"the target 'id' {what}, as an identifier does",)


def test_the_target_is_the_last_column_that_is_not_dropped() -> None:
    source = texts({name: [str(n % 7 + 0.5) for n in range(20)] for name in ("a", "b", "c")})
    assert learn(source, Wanted(drop=("c",))).recipe.target == "b"
    with pytest.raises(ValueError, match="the target 'b' can't be left out: without --drop 'b', or with another"):
        learn(source, Wanted(target="b", drop=("b",)))


def test_names_are_classes_where_the_user_insists() -> None:
    x = [str(number * 0.5) for number in range(24)]
    for wanted in (Wanted(task="classification"), Wanted(categories=("y",))):
        assert learn(texts({"x": x, "y": NAMES}), wanted).recipe.labels == tuple(NAMES)


def test_the_target_is_the_one_that_the_user_or_the_data_names_or_the_last_column() -> None:
    frame = pd.DataFrame({"a": [1.5, 2, 3], "b": [2.5, 3, 4], "c": [3.5, 4, 1]})
    assert learn(typed(frame), Wanted()).recipe.target == "c"
    assert learn(typed(frame, target="b"), Wanted()).recipe.target == "b"
    assert learn(typed(frame, target="b"), Wanted(target="a")).recipe.target == "a"
    for wanted, option in ((Wanted(target="d"), "the target"), (Wanted(drop=("d",)), "--drop"),
                           (Wanted(categories=("d",)), "--category")):  # fmt: skip
        with pytest.raises(ValueError, match=f"^data.parquet: {option} must be a column, 'a', 'b' or 'c', got 'd'$"):
            learn(typed(frame), wanted)


# --- bins --------------------------------------------------------------------------------------------------------


def test_numbers_in_bins_follow_equation_1_of_gorishniy_et_al() -> None:
    x, edges = np.asarray([-1.0, 0.0, 0.5, 1.0, 2.0, 4.0, 7.0]), (0.0, 1.0, 3.0, 5.0)
    expected = np.empty((len(x), 3))
    for t, (low, high) in enumerate(pairwise(edges), 1):  # with their cases, in their order
        for row, value in enumerate(x):
            if value < low and t > 1:
                expected[row, t - 1] = 0.0
            elif value >= high and t < 3:
                expected[row, t - 1] = 1.0
            else:
                expected[row, t - 1] = (value - low) / (high - low)
    np.testing.assert_array_equal(filled_bins(x, edges), expected)


def test_bins_hold_as_many_training_rows_each_and_are_learned_from_these_alone() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"n": random.normal(size=400), "t": random.integers(0, 2, 400), "c": ["u", "v"] * 200,
                          "y": random.normal(size=400)})  # fmt: skip
    learned = learn(typed(frame), Wanted(numbers="piecewise"))
    raw = read(typed(frame), learned.recipe, np.float32).X
    recipe = learned.recipe.learn_fill(raw[:320])
    assert recipe.bins[1:] == ((), (), ())  # columns of 0 and 1 stay
    assert len(recipe.bins[0]) == 17
    inside = np.histogram(raw[:320, 0], recipe.bins[0])[0]
    assert inside.max() - inside.min() <= 2
    filled = recipe.filled(raw)
    assert filled.dtype == np.float32
    assert filled.shape == (400, recipe.width) == (400, 19)
    assert len(recipe.names) == 19
    assert recipe.names[-3:] == ("t", "c=u", "c=v")
    np.testing.assert_array_equal(filled[:, -3:], raw[:, -3:])
    assert recipe.learn_fill(raw[:320]) == recipe
    assert Recipe.from_notes(json.loads(json.dumps(recipe.as_notes()))) == recipe


def test_a_column_without_two_bins_stays() -> None:
    assert edges_of(np.asarray([0.0, 1.0, 1.0, np.nan])) == ()
    assert edges_of(np.asarray([np.nan])) == ()


# --- notes, memory, arrays ---------------------------------------------------------------------------------------


def test_a_recipe_survives_its_notes() -> None:
    columns = {**many_cities(), "when": [f"2020-{n % 12 + 1:02}-{n % 28 + 1:02}" for n in range(102)],
               "t": ["TRUE", ""] * 51, "n": ["1,5", "2,5", "?"] * 34}  # fmt: skip
    columns["y"] = columns.pop("y")
    source = texts(columns, missing=("nix",))
    recipe = learn(source, Wanted()).recipe
    recipe = recipe.learn_fill(read(source, recipe).X)
    back = Recipe.from_notes(json.loads(json.dumps(recipe.as_notes())))
    assert back == recipe
    assert back.reading == Reading(",", ".", header=True, missing=("nix",))
    np.testing.assert_array_equal(read(source, back).X, read(source, recipe).X)


OLD = {"task": "classification", "target": "kind", "columns": [["size", None], ["colour", ["blue", "red"]]],
       "names": ["size", "colour=blue", "colour=red"], "width": 3, "missing": "fill", "mean": [2.0, 0.5, 0.5],
       "scale": [1.0, 1.0, 1.0], "y_mean": 0.0, "y_scale": 1.0, "image_shape": None}  # fmt: skip


def test_a_recipe_of_0_1_0_reads_as_before() -> None:
    recipe = Recipe.from_notes(OLD)
    assert (recipe.missing, recipe.unknown, recipe.fill) == ("fill", "refuse", (2.0, 0.5, 0.5))
    encoded = rows(recipe, {"size": ["4", ""], "colour": ["red", "blue"]})
    np.testing.assert_array_equal(recipe.filled(encoded.X), [[4, 0, 1], [2, 1, 0]])
    with pytest.raises(ValueError, match="row 1, column 'colour' must be 'blue' or 'red', got 'green'"):
        rows(recipe, {"size": [1], "colour": ["green"]})


def test_text_is_read_as_the_file_says_or_else_as_in_training() -> None:
    source = texts({"n": ["1,5", "2,5", "9"], "y": ["1", "2", "3,5"]}, decimal=",")
    recipe = learn(source, Wanted()).recipe
    assert recipe.reading.decimal == ","
    np.testing.assert_array_equal(rows(recipe, {"n": ["1,5", "2"]}).X[:, 0], [1.5, 2])
    points = texts({"n": ["1.5", "2.5"], "y": ["1", "2.5"]}, decimal=".")
    np.testing.assert_array_equal(read(points, recipe).X[:, 0], [1.5, 2.5])


def test_rows_are_read_into_one_array_of_the_dtype_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = tuple(f"c{number}" for number in range(50))

    def chunks(size: int | None) -> Iterator[Chunk]:
        for low in range(0, 20_000, size or 20_000):
            numbers = np.random.default_rng(low).normal(size=(size or 20_000, 50))
            yield Chunk(pd.DataFrame(numbers, columns=columns), None, low)

    monkeypatch.setattr(recipes, "ROWS", 1000)
    source = Source("data", "data", columns, chunks, is_table=True)
    recipe = learn(source, Wanted()).recipe
    tracemalloc.start()
    X = read(source, recipe, np.float32).X
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (X.shape, X.dtype) == ((20_000, 49), np.float32)
    np.testing.assert_array_equal(
        X[7000:8000], np.random.default_rng(7000).normal(size=(1000, 50)).astype("f4")[:, :49]
    )
    # NumPy 2.5 counts a moved array twice for a moment, though the system copies nothing
    counted = 2 if np.lib.NumpyVersion(np.__version__) >= "2.5.0" else 1
    assert peak < (counted + 0.5) * X.nbytes  # float64 on the way, or a list of parts, takes as much once more


def test_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", X=random.normal(size=(12, 5)), y=np.arange(12) % 3)
    source = data.open_data(str(tmp_path / "a.npz"))
    learned = learn(source, Wanted())
    assert (learned.rows, learned.columns, learned.notes, learned.recipe.task) == (12, (), (), "classification")
    encoded = read(source, learned.recipe, np.float32)
    assert (encoded.X.shape, encoded.X.dtype, encoded.kept.tolist()) == ((12, 5), np.float32, list(range(12)))
    assert encoded.y is not None
    assert encoded.y.tolist() == [0, 1, 2] * 4
    table, arrays = Chunk(pd.DataFrame({"a": [1]}), None, 0), Chunk(np.ones((1, 4)), None, 0)
    with pytest.raises(ValueError, match=r"^b must hold arrays, as what the model was trained on did, got a table$"):
        learned.recipe.rows("b", table)
    with pytest.raises(ValueError, match=r"^b must have rows of 5 numbers, got 4$"):
        learned.recipe.rows("b", arrays)
    of_table = learn(typed(pd.DataFrame({"a": [1.5, 2, 3], "y": [1.5, 2, 3]})), Wanted()).recipe
    with pytest.raises(ValueError, match=r"^b must be a table with the columns that the model was trained on, got arr"):
        of_table.rows("b", arrays)
    with pytest.raises(
        ValueError, match=r"^--target, --drop and --category name columns of a table, .*a.npz has none$"
    ):
        learn(source, Wanted(target="y"))


def test_a_table_without_rows_is_refused() -> None:
    for use in (lambda source: learn(source, Wanted()), lambda source: read(source, Recipe.from_notes(OLD))):
        with pytest.raises(ValueError, match=r"^data.csv must have at least one row, got none$"):
            use(texts({"a": [], "y": []}))


STYLES = {
    "dots": (["11.05.2023", "", "03.04.2023"], ["2023-05-11", "", "2023-04-03"], "'11.05.2023' is read as 2023-05-11"),
    "slashes, a day above 12": (["3/4/2023", "NA", "25/12/2023"], ["2023-04-03", "", "2023-12-25"],
                                "'25/12/2023' is read as 2023-12-25"),
    "whole numbers": (["20230511", "", "20230403"], ["2023-05-11", "", "2023-04-03"],
                      "'20230511' is read as 2023-05-11"),
    "a time": (["May 1, 2023", "May 3, 2023", ""], ["2023-05-01", "2023-05-03", ""],
               "'May 3, 2023' is read as 2023-05-03"),
    "as in training": (["2023-05-11", "", "2023-04-03"], ["2023-05-11", "", "2023-04-03"], None),
}  # fmt: skip


@pytest.mark.parametrize(("new", "meant", "said"), STYLES.values(), ids=STYLES)
def test_new_dates_in_another_style_are_read_where_it_leaves_no_doubt(
    new: list[str], meant: list[str], said: str | None
) -> None:
    days = ["2020-01-05", "2020-02-17", "2020-12-31"]
    recipe = learn(texts({"day": days, "y": ["1.5", "2.5", "0.5"]}), Wanted()).recipe
    encoded, expected = (rows(recipe, {"day": pd.Series(each, dtype="str")}) for each in (new, meant))
    np.testing.assert_array_equal(encoded.X, expected.X)
    assert encoded.styles.get("day") == said


@pytest.mark.parametrize(
    ("trained", "new", "sentence"),
    [
        ("2020-12-31", "03/04/2023", "column 'day' has the date '03/04/2023', which may be 2023-03-04 or 2023-04-03; "
         "dates in 'day' that are written as '2020-12-31' leave no doubt"),
        ("12/31/2020", "25/12/2023", "row 1, column 'day' must be a date such as '12/31/2020', got '25/12/2023'; --na "
         "'25/12/2023' takes it for a missing value"),
        ("2020-12-31", "31.12.23", "row 1, column 'day' must be a date such as '2020-12-31', got '31.12.23'; --na "
         "'31.12.23' takes it for a missing value"),
    ],
    ids=["month or day", "the other order", "two digits of a year"],
)  # fmt: skip
def test_new_dates_that_leave_a_doubt_are_refused(trained: str, new: str, sentence: str) -> None:
    other = trained.replace("31", "30")
    recipe = learn(texts({"day": [trained, other, trained], "y": ["1.5", "2.5", "0.5"]}), Wanted()).recipe
    with pytest.raises(ValueError, match="column 'day'") as caught:
        rows(recipe, {"day": [new, new]})
    assert str(caught.value) == f"new.parquet: {sentence}"


def test_sentences_about_new_data_name_only_what_predict_and_evaluate_have() -> None:
    y = {"y": ["1.5", "2.5", "0.5"]}
    of_numbers = learn(texts({"a": ["1,5", "2,5", "3,5"], **y}, decimal=","), Wanted()).recipe
    of_dates = learn(texts({"a": ["01.02.2020", "31.12.2020", "05.05.2020"], **y}), Wanted()).recipe
    for recipe, value, sentence in (
        (of_numbers, "138.35", "must be a number, got '138.35'; --decimal . reads it as 138.35"),
        (of_numbers, "many", "must be a number, got 'many'; --na 'many' takes it for a missing value"),
        (of_numbers, "inf", "must be finite, got inf; --na 'inf' takes it for a missing value"),
        (of_dates, "soon", "must be a date such as '31.12.2020', got 'soon'; --na 'soon' takes it for a missing value"),
    ):
        with pytest.raises(ValueError, match=r"^new.parquet: row 1, column 'a' ") as caught:
            rows(recipe, {"a": [value]})
        assert str(caught.value).endswith(f"'a' {sentence}")
