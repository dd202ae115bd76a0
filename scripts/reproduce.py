"""Train the networks of the papers on MNIST and Fashion-MNIST, and print our test error beside the published one.

    python scripts/reproduce.py --list
    python scripts/reproduce.py --data FOLDER --save FILE.json [--quick] [--only ROW ...] [--seeds N] [--again]
        [--backend torch --device cuda --compile] [--dtype float32] [--plot FILE.png]
    python scripts/reproduce.py --save FILE.json                 # the table of what was run

FOLDER has the IDX files of MNIST and Fashion-MNIST in folders of their own, or those of one of them. Each finished run
is kept in FILE.json, and a later call goes on from there. The recipes are in ``reproduce_rows``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import piped
from array_api_compat import array_namespace
from benchmark import machine
from distortions import distorting
from reproduce_rows import ROWS, Estimator, Loop, Row

import mlp_xp as mx
from mlp_xp import backends, data, optim, schedules
from mlp_xp._lib.files import write_whole
from mlp_xp.train import Epoch, train

QUICK_SEEDS = 1
FOLDERS = {  # ours, and what else they are called
    "mnist": ("mnist", "MNIST", "MNIST/raw"),
    "fashion-mnist": ("fashion-mnist", "fashion", "FashionMNIST/raw", "FashionMNIST"),
}
NOT_RUN = "not run"


class Images(NamedTuple):
    """The pixels of 0 to 1, a row an image, the labels, and the same of the test set, on the host."""

    X: Any
    y: Any
    X_test: Any
    y_test: Any
    shape: tuple[int, int]


class Place(NamedTuple):
    """Where a run computes: names, and what they stand for."""

    backend: str
    device: str | None
    dtype: str
    compiled: bool

    def words(self) -> str:
        """For the file and the table, such as "numpy float32"."""
        return " ".join(filter(None, (self.backend, self.device, self.dtype, "compiled" if self.compiled else "")))


# --- data --------------------------------------------------------------------------------------------------------


def folder_of(name: str, folder: Path) -> Path | None:
    """Where in ``folder`` the files of a data set are; None if they are not there."""
    inside = next((folder / each for each in FOLDERS[name] if (folder / each).is_dir()), None)
    itself = any(folder.glob("train-images*")) and ("fashion" in folder.resolve().name.lower()) == ("fashion" in name)
    return inside or (folder if itself else None)


def read(folder: Path, dtype: str) -> Images:
    """The data set in a folder of IDX files. Raise ValueError, in one sentence, where it is not whole."""
    source = data.open_data(folder)
    if source.test is None or source.image_shape is None:
        raise ValueError(f"{folder} must hold a test set, t10k-images and t10k-labels")
    known, test = source.read(), source.test.read()
    return Images(known.X.astype(dtype), known.y, test.X.astype(dtype), test.y, source.image_shape)


def held_out(images: Images) -> Images:
    """The last sixth of the images to learn from, in the place of the test set."""
    kept = len(images.X) - len(images.X) // 6
    X, y = images.X, images.y
    return Images(X[:kept], y[:kept], X[kept:], y[kept:], images.shape)


# --- a run -------------------------------------------------------------------------------------------------------


def error_of(predicted: Any, y: Any) -> float:
    """The share of wrong labels in %, of labels on one device."""
    xp = array_namespace(predicted)
    wrong = int(xp.sum(xp.astype(predicted != y, xp.int32)))
    return 100.0 * wrong / int(y.shape[0])


def run_loop(images: Images, recipe: Loop, seed: int, place: Place, watch: bool) -> tuple[float, float, int]:
    """The test error in % after a run of ``train``, its seconds, and its epochs."""
    there = backends.load(place.backend, place.dtype, place.device)
    xp = there.xp
    X, y, X_test, y_test = (there.put(each) for each in images[:4])
    sizes = (X.shape[1], *recipe.hidden, int(images.y.max()) + 1)
    *hidden, W, b = mx.init_params(sizes, xp=xp, dtype=X.dtype, device=there.device, seed=seed)
    params = (*(each * recipe.gain for each in hidden), W, b)  # hidden biases are 0 whatever the gain is
    settings: dict[str, Any] = {**recipe.options, "batch_size": recipe.batch_size, "seed": seed}
    settings["compile"] = place.compiled or None
    settings |= {"optimizer": optim.momentum(recipe.momentum) if recipe.momentum else optim.sgd()}
    if recipe.distortions is not None:
        settings["transform"] = distorting(images.shape, recipe.distortions)

    def error(params: Any) -> float:
        # the decision of squared error is the outputs: the largest is the label for each criterion
        options = {"activation": recipe.options.get("activation", "sigmoid"), "criterion": "squared_error"}
        return error_of(xp.argmax(mx.predict(X_test, *params, **options), axis=1), y_test)

    def say(epoch: Epoch) -> None:
        print(f"  {epoch.last.number}: loss {epoch.last.loss:.4f}, test error {error(epoch.params):.2f}", flush=True)

    began = time.perf_counter()
    callbacks = [say] if watch else []
    for epoch in train(
        X, y, params, epochs=recipe.epochs, lr=schedules.cosine(recipe.lr), callbacks=callbacks, **settings
    ):
        last = epoch
    seconds = time.perf_counter() - began
    return error(last.params), seconds, last.last.number


def run_estimator(images: Images, recipe: Estimator, seed: int, place: Place) -> tuple[float, float, int]:
    """The test error in % after a fit of ``MLPClassifier``, its seconds, and its epochs."""
    from mlp_xp.estimators import MLPClassifier

    there = backends.load(place.backend, place.dtype, place.device)
    X, X_test = there.put(images.X), there.put(images.X_test)
    model = MLPClassifier(**recipe.parameters, random_state=seed, compile=place.compiled or None)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a run that ended at max_iter, as scikit-learn's own did
        model.fit(X, images.y)
    seconds = time.perf_counter() - began
    return 100.0 * (1.0 - float(model.score(X_test, images.y_test))), seconds, int(model.n_iter_)


# --- the file ----------------------------------------------------------------------------------------------------


def plain(row: Row) -> Any:
    """The recipe of a row as JSON has it."""
    recipe = row.recipe._asdict()
    if isinstance(row.recipe, Loop) and row.recipe.distortions is not None:
        recipe["distortions"] = row.recipe.distortions._asdict()
    return json.loads(json.dumps(recipe))


def load(path: Path | None) -> dict[str, Any]:
    """What was run so far, by row."""
    if path is None or not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} must be a file that this script wrote") from None
    assert isinstance(rows, dict)
    return rows


def keep(path: Path | None, done: dict[str, Any]) -> None:
    """Write the file, whole or not at all."""
    if path is not None:
        write_whole(path, (json.dumps({"rows": done}, indent=1) + "\n").encode())


def runs_of(row: Row, done: dict[str, Any], place: Place, again: bool) -> list[dict[str, Any]]:
    """The runs of a row so far, to which more may be added. Raise where they are of another recipe or place."""
    known = done.get(row.name)
    if known is None or again:
        done[row.name] = {"recipe": plain(row), "place": place.words(), "machine": machine(), "runs": []}
    elif (known["recipe"], known["place"]) != (plain(row), place.words()):
        raise ValueError(f"{row.name} was run with another recipe or on another library: take another file, or --again")
    runs: list[dict[str, Any]] = done[row.name]["runs"]
    return runs


def measure(rows: Sequence[Row], options: argparse.Namespace, done: dict[str, Any]) -> None:
    """Run what is missing of the rows, and keep each run. What can't be run is said, and the rest goes on."""
    place = Place(options.backend, options.device, options.dtype, options.compile)
    for name in FOLDERS:
        chosen = [row for row in rows if row.data == name]
        if not chosen:
            continue
        folder = folder_of(name, options.data)
        if folder is None:
            print(f"{name} is not in {options.data}: {len(chosen)} rows are left out", file=sys.stderr)
            continue
        images = read(folder, options.dtype)
        images = held_out(images) if options.choose else images
        for row in chosen:
            try:
                runs = runs_of(row, done, place, options.again)
            except ValueError as error:
                print(error, file=sys.stderr)
                continue
            for seed in range(options.seeds or (QUICK_SEEDS if options.quick else row.seeds)):
                if all(run["seed"] != seed for run in runs):
                    run_one(images, row, seed, place, options, runs)
                    keep(options.save, done)


def run_one(
    images: Images, row: Row, seed: int, place: Place, options: argparse.Namespace, runs: list[dict[str, Any]]
) -> None:
    """Run a row with a seed and add it to its runs."""
    print(f"{row.name}, seed {seed} ...", flush=True)
    if isinstance(row.recipe, Loop):
        error, seconds, epochs = run_loop(images, row.recipe, seed, place, options.watch)
    else:
        error, seconds, epochs = run_estimator(images, row.recipe, seed, place)
    print(f"{row.name}, seed {seed}: {error:.2f} % in {seconds:.0f} s, {epochs} epochs", flush=True)
    runs.append({"seed": seed, "error": round(error, 4), "seconds": round(seconds, 1), "epochs": epochs})


# --- the table ---------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A row with its figures: mean and spread (None of one run) of the error in %, mean seconds, the verdict."""

    row: Row
    errors: list[float]
    seconds: float
    place: str
    verdict: str

    @property
    def mean(self) -> float:
        """Of the errors, in %."""
        return statistics.fmean(self.errors)

    @property
    def spread(self) -> float | None:
        """The standard deviation of the errors; None of one run."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else None


def verdict(row: Row, errors: Sequence[float]) -> str:
    """Whether ours is at most what was published, or what is wanted, in as many digits as that was written."""
    if not errors:
        return NOT_RUN
    limit = row.wanted or row.published
    digits, mean = len(limit.partition(".")[2]), statistics.fmean(errors)
    if round(mean, digits) <= float(limit):
        return "reached"
    near = len(errors) > 1 and round(mean - statistics.stdev(errors), digits) <= float(limit)
    return "within its spread" if near else "not reached"


def lines(rows: Sequence[Row], done: dict[str, Any]) -> Iterator[Line]:
    """The rows with what the file says of them; runs of an older recipe do not count."""
    for row in rows:
        known = done.get(row.name, {})
        runs = known["runs"] if known.get("recipe") == plain(row) else []
        errors = [run["error"] for run in runs]
        seconds = statistics.fmean(run["seconds"] for run in runs) if runs else 0.0
        yield Line(row, errors, seconds, known.get("place", ""), verdict(row, errors))


def table(found: Sequence[Line]) -> str:
    """The rows in Markdown; errors are those of the test set in %."""
    text = ["| data | network | source | published | ours | seeds | seconds | verdict |", "|" + " --- |" * 8]
    for line in found:
        row, ours, seconds = line.row, NOT_RUN, ""
        if line.errors:
            ours = f"{line.mean:.2f}" + (f" ± {line.spread:.2f}" if line.spread is not None else "")
            seconds = f"{line.seconds:.0f}"
        published = f"{row.published}, wanted {row.wanted}" if row.wanted else row.published
        cells = (row.data, row.network, row.source, published, ours, str(len(line.errors) or ""), seconds, line.verdict)
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def draw(found: Sequence[Line], path: Path) -> None:
    """A picture: for each row that was run the published error and ours, with its spread."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    shown = [line for line in found if line.errors][::-1]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.3 * max(len(shown), 4)), layout="constrained")
    places = range(len(shown))
    axes.scatter([float(line.row.published) for line in shown], places, marker="|", s=120, color="tab:gray")
    axes.errorbar(
        [line.mean for line in shown], places, xerr=[line.spread or 0.0 for line in shown], fmt="o", color="tab:blue"
    )
    axes.set_yticks(places, [f"{line.row.data}: {line.row.network}" for line in shown])
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel("test error in %; the bar is the published figure, the dot is ours")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)


# --- the command -------------------------------------------------------------------------------------------------


def chosen(options: argparse.Namespace) -> list[Row]:
    """The rows to run. Raise for a name that is none."""
    names = [row.name for row in ROWS]
    for name in options.only or ():
        if name not in names:
            raise ValueError(f"--only must name rows of --list, got {name!r}")
    return [row for row in ROWS if (not options.only or row.name in options.only) and (not options.quick or row.quick)]


def main() -> None:
    """Run what is missing, print the table, save and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="without it nothing is trained")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="keep what was run, and go on from there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw ours and the published figures")
    parser.add_argument("--quick", action="store_true", help="one seed of the fast rows")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows alone")
    parser.add_argument("--seeds", type=int, help="in place of three, or one of the slow rows")
    parser.add_argument("--again", action="store_true", help="run rows anew that were run before")
    parser.add_argument("--list", action="store_true", help="print the rows and their recipes")
    parser.add_argument(
        "--choose", action="store_true", help="for choosing recipes: judge by the last sixth of the training images"
    )
    parser.add_argument(
        "--watch", action="store_true", help="print the test error after each epoch; it decides nothing"
    )
    parser.add_argument("--backend", default="numpy", help="numpy, cupy, torch or jax")
    parser.add_argument("--device", help="the backend's name for it, such as cuda")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--compile", action="store_true", help="compile the step: jax.jit, torch.compile")
    options = parser.parse_args()
    try:
        if options.choose and options.save is not None:
            raise ValueError("--choose does not go with --save: errors on training images are no results")
        rows, done = chosen(options), load(options.save)
        if options.list:
            for row in rows:
                print(f"{row.name:22}{row.data:15}{row.published:>6}  {json.dumps(plain(row))}")
            return
        if options.data is not None:
            if not options.data.is_dir():
                raise ValueError(f"--data must be a folder, got {options.data}")
            measure(rows, options, done)
    except BrokenPipeError:  # of standard output, see ``piped``
        raise
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    found = list(lines(rows if options.only or options.quick else ROWS, done))
    print(table(found))
    if options.plot is not None:
        draw(found, options.plot)


if __name__ == "__main__":
    piped.run(main)
