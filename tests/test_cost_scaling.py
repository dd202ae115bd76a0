"""``scaling`` against collectives that are played step by step, against numbers by hand, and at its limits."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
from pages import ROOT, blocks, run_page

import mlp_xp as mx
from mlp_xp.cost import ALGORITHMS, scaling

pytestmark = pytest.mark.only("numpy")

PAGE = "mlp_xp/SCALE.md"
SIZES, N = (784, 1024, 10), 512
COST = mx.step_cost(SIZES, N)
FLOPS = COST.forward_flops + COST.backward_flops
S = 4 * (784 * 1024 + 1024 + 1024 * 10 + 10 + 4)  # bytes in float32: gradients, flag, rows, weight, loss
RATES = {"flops_per_second": 1e12, "bandwidth": 1e10, "latency": 1e-5}
on = partial(scaling, COST, **RATES)
SOME_RANKS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 31)


class Play:
    """An all-reduce among P ranks, played in rounds: a rank has one number for each part of the message.

    A round is a list of (sender, receiver, part, whether to add). All of a round are sent at once. A rank sends one
    message and receives one in a round.
    """

    def __init__(self, ranks: int, parts: int) -> None:
        self.held = [[10**part * (rank + 1) for part in range(parts)] for rank in range(ranks)]
        self.sent, self.rounds = [0] * ranks, 0  # parts that each rank has sent

    def round(self, messages: list[tuple[int, int, range, bool]]) -> None:
        assert len({sender for sender, *_ in messages}) == len({to for _, to, *_ in messages}) == len(messages)
        before = [list(numbers) for numbers in self.held]
        for sender, receiver, parts, adds in messages:
            for part in parts:
                self.held[receiver][part] = before[sender][part] + (before[receiver][part] if adds else 0)
            self.sent[sender] += len(parts)
        self.rounds += 1

    def is_the_sum(self) -> bool:
        total = sum(range(1, len(self.held) + 1))
        return all(numbers == [10**part * total for part in range(len(numbers))] for numbers in self.held)


def played_ring(P: int) -> Play:
    play = Play(P, parts=P)
    for adds in (True, False):
        for step in range(P - 1):
            first = 0 if adds else 1  # the sums end one rank further on
            part = [(rank + first - step) % P for rank in range(P)]
            play.round([(rank, (rank + 1) % P, range(part[rank], part[rank] + 1), adds) for rank in range(P)])
    return play


def played_tree(P: int) -> Play:
    play, whole = Play(P, parts=1), range(1)
    distances = [2**level for level in range(P) if 2**level < P]
    for distance in distances:
        play.round([(rank + distance, rank, whole, True) for rank in range(0, P - distance, 2 * distance)])
    for distance in reversed(distances):
        play.round([(rank, rank + distance, whole, False) for rank in range(0, P - distance, 2 * distance)])
    return play


@pytest.mark.parametrize("P", SOME_RANKS)
def test_a_ring_that_is_played_takes_the_stated_time_and_sends_the_stated_bytes(P):
    play, stated = played_ring(P), on(P)
    assert play.is_the_sum()
    assert stated.sent_bytes == round(max(play.sent) * S / P)
    assert stated.collective_seconds == pytest.approx(play.rounds * (1e-5 + S / P / 1e10))


@pytest.mark.parametrize("P", SOME_RANKS)
def test_a_tree_that_is_played_takes_the_stated_time_and_its_root_sends_the_stated_bytes(P):
    play, stated = played_tree(P), on(P, algorithm="tree")
    assert play.is_the_sum()
    assert stated.sent_bytes == play.sent[0] * S == max(play.sent) * S
    assert stated.collective_seconds == pytest.approx(play.rounds * (1e-5 + S / 1e10))


def parents(P: int) -> dict[int, int]:
    """A binary tree of the ranks 1 ... P in order, the odd ones its leaves: child -> parent."""
    found = {}
    for rank in range(1, P + 1):
        above = rank
        while True:  # the neighbour whose lowest bit is the next higher one, or the next such that exists
            low = above & -above
            above = (above - low) | 2 * low
            if above <= P or low > P:
                break
        if above <= P:
            found[rank] = above
    return found


@pytest.mark.parametrize("P", [2, 3, 4, 5, 8, 9, 16, 31, 64, 1000])
def test_a_rank_sends_two_messages_at_most_over_two_trees_that_are_as_deep_as_stated(P):
    tree = parents(P)
    assert len(tree) == P - 1
    mirrored = (lambda rank: P + 1 - rank) if P % 2 == 0 else (lambda rank: rank % P + 1)  # leaves become inner ranks
    trees = tree, {mirrored(child): mirrored(parent) for child, parent in tree.items()}
    sent = dict.fromkeys(range(1, P + 1), 0.0)
    for edges in trees:
        for child, parent in edges.items():
            sent[child] += 0.5  # of half a message, the sum of all below goes up
            sent[parent] += 0.5  # and the sum of all comes down
    stated = on(P, algorithm="two_trees")
    assert max(sent.values()) * S <= stated.sent_bytes
    assert max(sent.values()) == 2 or P < 8

    def depth(rank: int) -> int:
        return 1 + depth(tree[rank]) if rank in tree else 0

    latency = on(P, algorithm="two_trees", bandwidth=1e300).collective_seconds
    assert 2 * max(map(depth, sent)) * 1e-5 <= latency * (1 + 1e-12)
    assert latency == pytest.approx(2 * math.ceil(math.log2(P)) * 1e-5)


def test_eight_ranks_by_hand():
    # 3.256 MB at 10 GB/s is 325.64 us; L = 3
    ring, tree, two_trees = (on(8, algorithm=name) for name in ALGORITHMS)
    assert ring.collective_seconds == pytest.approx(14 * 10e-6 + 14 / 8 * 325.6376e-6)
    assert tree.collective_seconds == pytest.approx(6 * (10e-6 + 325.6376e-6))
    assert two_trees.collective_seconds == pytest.approx(6 * 10e-6 + 2 * 325.6376e-6)
    assert [way.sent_bytes for way in (ring, tree, two_trees)] == [5_698_658, 9_769_128, 6_512_752]
    compute = FLOPS / 1e12
    assert ring.step_seconds == pytest.approx(compute + 709.8658e-6)
    assert ring.efficiency == pytest.approx(compute / (compute + 709.8658e-6))


def test_efficiency_is_the_speed_up_over_the_ranks():
    """One rank with the rows of four, over four times the step of four: the update is done once, or four times."""
    update = {"update_seconds": 2e-4}
    for algorithm in ALGORITHMS:
        four = on(4, algorithm=algorithm, **update)
        alone = scaling(mx.step_cost(SIZES, 4 * N), 1, **RATES, **update)
        assert four.efficiency == pytest.approx(alone.step_seconds / (4 * four.step_seconds), rel=1e-12)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_rank_sends_nothing_and_waits_for_nobody(algorithm):
    compute = FLOPS / 1e12
    assert on(1, algorithm=algorithm) == (0, 0.0, compute, 1.0)
    assert on(1, algorithm=algorithm, update_seconds=1.0) == (0, 0.0, compute + 1.0, 1.0)


def test_without_latency_many_ranks_take_as_long_as_two_messages():
    for algorithm in ("ring", "two_trees"):
        assert on(10**6, algorithm=algorithm, latency=0.0).collective_seconds == pytest.approx(2 * S / 1e10, rel=1e-5)
    assert on(10**6).collective_seconds > 10  # the hops of the ring


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_efficiency_falls_with_the_ranks_and_rises_with_the_rows(algorithm):
    by_ranks = [on(2**power, algorithm=algorithm).efficiency for power in range(11)]
    assert all(more < fewer for fewer, more in pairwise(by_ranks))
    by_rows = [
        scaling(mx.step_cost(SIZES, rows), 8, algorithm=algorithm, **RATES).efficiency for rows in (1, 64, 4096, 2**20)
    ]
    assert by_rows == sorted(by_rows)
    assert by_rows[0] < 0.1
    assert by_rows[-1] > 0.99


@pytest.mark.parametrize("P", [8, 64, 1000])
def test_a_ring_is_the_faster_one_for_messages_above_the_bound_of_the_page(P):
    bound = 1e-5 * 1e10 * P * (P - 1 - math.ceil(math.log2(P)))
    for share, faster in ((0.99, "two_trees"), (1.01, "ring")):
        cost = COST._replace(parameters=int(bound * share / 4), parameter_bytes=4 * int(bound * share / 4))
        ways = {name: scaling(cost, P, algorithm=name, **RATES).collective_seconds for name in ALGORITHMS}
        assert min(ways, key=ways.__getitem__) == faster


def test_half_the_bytes_of_a_number_are_half_the_message():
    half, double = (scaling(mx.step_cost(SIZES, N, dtype), 2, **RATES) for dtype in ("bfloat16", "float64"))
    assert (half.sent_bytes, double.sent_bytes) == (S // 2, 2 * S)


WRONG = {
    "no ranks": ({"ranks": 0}, ValueError, "ranks must be at least 1, got 0"),
    "half a rank": ({"ranks": 1.5}, TypeError, "ranks must be a whole number, got 1.5"),
    "True ranks": ({"ranks": True}, TypeError, "ranks must be a whole number, got True"),
    "no speed": ({"flops_per_second": 0}, ValueError, "flops_per_second must be positive, got 0"),
    "a speed in words": ({"flops_per_second": "fast"}, TypeError, "flops_per_second must be a number, got 'fast'"),
    "no bandwidth": ({"bandwidth": 0.0}, ValueError, "bandwidth must be positive, got 0.0"),
    "infinite bandwidth": ({"bandwidth": math.inf}, ValueError, "bandwidth must be at least 0 and finite, got inf"),
    "a negative latency": ({"latency": -1e-6}, ValueError, "latency must be at least 0 and finite, got -1e-06"),
    "a latency of NaN": ({"latency": math.nan}, ValueError, "latency must be at least 0 and finite, got nan"),
    "a negative update": ({"update_seconds": -1}, ValueError, "update_seconds must be at least 0 and finite, got -1"),
    "another algorithm": (
        {"algorithm": "rings"}, ValueError,
        "algorithm must be 'ring', 'tree' or 'two_trees', got 'rings'; did you mean 'ring'?"),
    "sizes for a cost": (
        {"cost": (4, 3)}, TypeError, "cost must be a StepCost, which step_cost returns, got a tuple of 2"),
}  # fmt: skip


@pytest.mark.parametrize(("spoilt", "error", "sentence"), WRONG.values(), ids=WRONG)
def test_a_bad_argument_is_named_in_one_sentence(spoilt, error, sentence):
    with pytest.raises(error) as raised:
        scaling(**{"cost": COST, "ranks": 2, **RATES, **spoilt})
    assert str(raised.value) == sentence


def test_the_bounds_between_ring_and_tree_are_those_of_the_page():
    text = ROOT.joinpath(PAGE).read_text()
    links = {8: (5e-6, 430e9, "69 MB for 8 GPUs"), 64: (8e-6, 320e9, "9 GB for 64")}
    for P, (latency, bandwidth, words) in links.items():
        bound = latency * bandwidth * P * (P - 1 - math.ceil(math.log2(P)))
        assert words in (f"{bound / 1e6:.0f} MB for {P} GPUs", f"{bound / 1e9:.0f} GB for {P}")
        assert words in text

    def seconds(P, algorithm):
        rates = {"flops_per_second": 1e12, "bandwidth": 320e9, "latency": 8e-6}
        return scaling(mx.step_cost((784, 4096, 4096, 10), 1), P, algorithm=algorithm, **rates).collective_seconds

    last = next(P for P in range(2, 1001) if seconds(P + 1, "tree") < seconds(P + 1, "ring"))
    assert f"the ring is faster up to {last} GPUs" in text.replace("\n", " ")


def test_the_tables_of_the_page_are_what_is_predicted():
    assert len(blocks(PAGE, "output")) == 2
    run_page(PAGE)
