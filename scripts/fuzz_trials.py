"""A trial of ``fuzz``: something malformed that is asked, and what an answer to it is worth.

The answers: ``right``, an error that names the argument or the file, or a size that has no room in memory; ``taken``,
where nothing says that it is malformed; and three bad ones: ``silent``, taken although an independent rule refuses it;
``unnamed``, an error that does not name it; ``crash``, another exception, or no answer in time.
"""

from __future__ import annotations

import io
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import numpy as np

LIMIT = 30.0  # seconds for an answer
BAD = ("silent", "unnamed", "crash")


class Trial(NamedTuple):
    """What is asked.

    place: what it is asked of, such as ``optim.adam beta1``.
    text: what is malformed, so that the trial can be done by hand.
    run: asks it.
    words: a regular expression that a sentence about it contains.
    refused: whether it must be refused, by a rule that reads no code of the package.
    """

    place: str
    text: str
    run: Callable[[], object]
    words: str
    refused: bool = False


class Late(BaseException):
    """No answer came in time; nothing that handles errors handles this."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raise ``Late`` in the block when it takes longer; on systems that have such a clock."""

    def end(number: int, frame: Any) -> None:
        raise Late

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def answer(trial: Trial, seconds: float = LIMIT) -> str:
    """What came of it: right, taken or silent; ``unnamed: ...`` and ``crash: ...`` with what was said."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), in_time(seconds):
            warnings.simplefilter("ignore")
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                trial.run()
    except MemoryError:
        return "right"
    except (ValueError, TypeError, OSError) as error:
        return "right" if re.search(trial.words, str(error), re.IGNORECASE) else f"unnamed: {str(error)[:200]}"
    except ArithmeticError as error:  # of the loop's own: a loss that is no longer finite
        return "right" if type(error).__module__.startswith("mlp_xp") else f"crash: {error!r:.200}"
    except Late:
        return f"crash: no answer in {seconds:g} seconds"
    except Exception as error:
        return f"crash: {error!r:.200}"
    return "silent" if trial.refused else "taken"
