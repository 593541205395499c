"""How often each kind of memory series is suspected of a leak, by simulation.

    python -m tests.bench.leaks [--series N]

writes the tables of `deploy/guides/stability.md`. A series starts at 1 GB; its noise is given as a share of that.

- at the end: one look at 20 blocks, as a process that has run for one span;
- ever: every look of 100 blocks of 24 samples, by the rule as it runs, which wants three suspicions in a row.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from streams.stability.block_minima import MOST_BLOCKS, REPEATS
from streams.stability.leak import FEWEST_BLOCKS, LeakState, judge_many

__all__ = ["KINDS", "PAGE", "Kind", "Row", "ever_suspected", "leak_rows", "table", "with_tables"]

PAGE = Path(__file__).resolve().parents[2] / "deploy/guides/stability.md"
MARKED = re.compile(r"(<!-- table: (leaks|warm-ups) -->\n).*?(<!-- end -->)", re.DOTALL)
SEED = 20_261_127
SERIES = 500
SIZES = (120, 480)
"""Samples in 20 blocks: 6 or 24 each."""
CYCLE = 17
"""Samples from one collection of garbage to the next."""
LOOKS_BLOCKS = 100
LOOKS_BLOCK = 24
START_BYTES = 1e9

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]
"""(generator, series, samples) -> relative memory, (series, samples)."""


def _noise(share: float) -> Draw:
    return lambda random, series, samples: random.normal(0, share, (series, samples))


def _autoregressive(random: np.random.Generator, series: int, samples: int) -> Floats:
    shocks = random.normal(0, 0.02, (series, samples))
    values: Floats = np.zeros((series, samples))
    values[:, 0] = shocks[:, 0]
    for at in range(1, samples):
        values[:, at] = 0.9 * values[:, at - 1] + np.sqrt(1 - 0.81) * shocks[:, at]
    return values


def _saw_tooth(random: np.random.Generator, series: int, samples: int) -> Floats:
    phase = random.integers(0, CYCLE, (series, 1))
    teeth: Floats = 0.2 * ((np.arange(samples) + phase) % CYCLE) / CYCLE
    return teeth


def _warm_up(share_of_span: float) -> Draw:
    return lambda _, series, samples: np.tile(
        0.3 * (1 - np.exp(-np.arange(samples) / samples / share_of_span)), (series, 1)
    )


def _step(random: np.random.Generator, series: int, samples: int) -> Floats:
    is_behind = np.arange(samples) / samples > random.uniform(0.02, 0.98, (series, 1))
    return np.where(is_behind, 0.2, 0.0)


def _walk(random: np.random.Generator, series: int, samples: int) -> Floats:
    return random.normal(0, 0.15 / np.sqrt(samples), (series, samples)).cumsum(axis=1)


def _leak(share: float) -> Draw:
    return lambda _, series, samples: np.tile(share * np.arange(samples) / samples, (series, 1))


def _sum(*draws: Draw) -> Draw:
    return lambda random, series, samples: np.sum([draw(random, series, samples) for draw in draws], axis=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of series: what it is, and the bar for the share that is suspected, as the largest or the least.

    `spans_cycle`: the bar holds where a block is longer than the saw-tooth.
    """

    what: str
    draw: Draw
    at_most: float | None = None
    at_least: float | None = None
    spans_cycle: bool = False


_QUIET = _noise(0.005)
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "white": Kind("white noise of 2 %", _noise(0.02), at_most=0.01),
        "autoregressive": Kind("AR(1) 0.9, 2 %", _autoregressive, at_most=0.01),
        "saw-tooth": Kind("saw-tooth of 20 % every 17 samples", _sum(_saw_tooth, _QUIET), at_most=0.01),
        "fast warm-up": Kind("warm-up by 30 %, time constant 5 % of the span", _sum(_warm_up(0.05), _QUIET), 0.01),
        "slow warm-up": Kind("warm-up by 30 %, time constant 20 % of the span", _sum(_warm_up(0.2), _QUIET), 0.01),
        "step": Kind("one step of 20 % anywhere", _sum(_step, _QUIET), at_most=0.03),
        "walk": Kind("random walk that ends 15 % away", _sum(_walk, _noise(0.001)), at_most=0.10),
        **{
            f"leak {percent} %": Kind(
                f"leak of {percent} % over the span", _sum(_leak(percent / 100), _QUIET), at_least=bar
            )
            for percent, bar in ((5, None), (10, 0.80), (24, 0.99))
        },
        **{
            f"leak {percent} % under a saw-tooth": Kind(
                f"leak of {percent} % under the saw-tooth",
                _sum(_leak(percent / 100), _saw_tooth, _QUIET),
                at_least=bar,
                spans_cycle=True,
            )
            for percent, bar in ((5, None), (10, 0.80), (24, 0.99))
        },
    }
)  # fmt: skip
"""Noise is 0.5 % of the start where nothing else is said."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """The share of series of a kind and length in each state."""

    kind: str
    samples: int
    shares: Mapping[LeakState, float]

    @property
    def suspected(self) -> float:
        """The share that is suspected."""
        return self.shares[LeakState.SUSPECTED_LEAK]

    @property
    def is_reached(self) -> bool | None:
        """Whether the bar is; None where there is none."""
        kind = KINDS[self.kind]
        if kind.at_most is not None:
            return self.suspected <= kind.at_most
        if kind.at_least is None or (kind.spans_cycle and self.samples // FEWEST_BLOCKS < CYCLE):
            return None
        return self.suspected >= kind.at_least


def leak_rows(*, series: int = SERIES) -> Iterator[Row]:
    """One look at the end of each kind and length."""
    for name, kind in KINDS.items():
        for samples in SIZES:
            random = np.random.default_rng([SEED, samples, *name.encode()])
            yield Row(name, samples, _shares(_blocks(kind.draw(random, series, samples), samples // FEWEST_BLOCKS)))


def ever_suspected(draw: Draw, *, name: str, series: int = SERIES, blocks: int = LOOKS_BLOCKS) -> float:
    """The share of series that the rule, looking after every block, suspects at any time."""
    random = np.random.default_rng([SEED, *name.encode()])
    minima = _blocks(draw(random, series, blocks * LOOKS_BLOCK), LOOKS_BLOCK)
    in_a_row = np.zeros(series, dtype=int)
    ever = np.zeros(series, dtype=bool)
    for end in range(FEWEST_BLOCKS, blocks + 1):
        kept = minima[:, max(0, end - MOST_BLOCKS) : end]
        states, _ = judge_many(kept, np.arange(kept.shape[1], dtype=np.float64))
        suspects = np.array([state is LeakState.SUSPECTED_LEAK for state in states])
        in_a_row = np.where(suspects, in_a_row + 1, 0)
        ever |= in_a_row >= REPEATS
    return float(ever.mean())


def _blocks(relative: Floats, length: int) -> Floats:
    series, samples = relative.shape
    minima: Floats = (START_BYTES * (1 + relative)).reshape(series, samples // length, length).min(axis=2)
    return minima


def _shares(minima: Floats) -> Mapping[LeakState, float]:
    states, _ = judge_many(minima, np.arange(minima.shape[1], dtype=np.float64))
    return {state: states.count(state) / len(states) for state in LeakState}


def table(rows: Sequence[Row], *, series: int = SERIES) -> str:
    """For the guide: one line for each kind."""
    lines = ["| Series | Bar | 6 samples a block | 24 samples a block | called otherwise (24) | ever, in 100 blocks |"]
    lines.append("|---|---|---|---|---|---|")
    for name, kind in KINDS.items():
        few, many = (next(row for row in rows if (row.kind, row.samples) == (name, size)) for size in SIZES)
        others = [f"{share:.1%} {state}" for state, share in many.shares.items() if state not in _PLAIN and share]
        ever = ever_suspected(kind.draw, name=name, series=series)
        cells = (kind.what, _bar(kind), _cell(few), _cell(many), ", ".join(others), f"{ever:.1%}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_PLAIN = (LeakState.SUSPECTED_LEAK, LeakState.STABLE)


def _bar(kind: Kind) -> str:
    if kind.at_most is not None:
        return f"≤ {kind.at_most:.0%}"
    return "" if kind.at_least is None else f"≥ {kind.at_least:.0%}"


def _cell(row: Row) -> str:
    return f"{row.suspected:.1%}" + ("" if row.is_reached is not False else " **missed**")


def _warm_up_table(*, series: int) -> str:
    lines = ["| Time constant of the warm-up, in blocks | ever suspected |", "|---|---|"]
    for constant in (2, 5, 10, 15, 20, 30, 50):
        draw = _sum(_warm_up(constant / LOOKS_BLOCKS), _QUIET)
        lines.append(f"| {constant} | {ever_suspected(draw, name=f'warm-up {constant}', series=series):.1%} |")
    return "\n".join(lines) + "\n"


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """The page with both tables as measured now."""
    return MARKED.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", page)


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.leaks")
    parser.add_argument("--series", type=int, default=SERIES, help="of each kind")
    series = parser.parse_args().series
    rows = list(leak_rows(series=series))
    tables = {"leaks": table(rows, series=series), "warm-ups": _warm_up_table(series=series)}
    print(*tables.values(), sep="\n")
    PAGE.write_text(with_tables(PAGE.read_text(), tables))
    return sum(row.is_reached is False for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
