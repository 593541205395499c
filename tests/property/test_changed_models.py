"""Workers with different files, cut anywhere, on a store that may lose its tail: no slice is told of in part, and no
window is final while its labels count.

Each worker packs predictions by what it knows, and may hand them in much later; a start, a renewal or a commit may be
cut before or after any of its calls, and others may do what they like between two of them. Whatever happens, the
charter claims a slice of a window only if every prediction of the window that any shard has was counted in it, and its
windows wait at least as long as each of their predictions does.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.agreed_models import AgreedModels
from agents.model_agreements import settle_agreements
from streams.errors import PermanentFailure, TemporaryFailure
from streams.identity import (
    EVERYTHING,
    SUM,
    class_hash,
    model_version_hash,
    model_version_name,
    registry_group,
    request_key,
    segment_hash,
)
from streams.ledger.eras import in_force, settled_ms, whole_slices
from streams.ledger.founding import Charter
from streams.ledger.parts import Definitions, NameList, Outcome, Part, PredictionRow, Role, Source, pack_predictions
from streams.ledger.reference import ReferenceLedger
from streams.ledger.terms import Terms
from streams.monitored_model import MonitoredModel

SHARDS, WORKERS, NAMES = 2, 3, ("a", "b", "c")
MODEL = MonitoredModel(name="m", base_window_ms=10, report_windows_ms=(10, 30), label_horizon_ms=1_000_000)
HORIZONS_MS = (7, 20, 1_000_000)
TERMS = {
    horizon_ms: Terms.of(dataclasses.replace(MODEL, label_horizon_ms=horizon_ms), "1") for horizon_ms in HORIZONS_MS
}
DEFINITIONS = Definitions(
    {class_hash("ok"): "ok", model_version_hash("m", "1"): model_version_name("m", "1")},
    {terms.hash: terms.pack() for terms in TERMS.values()},
    {registry_group("classes", "m"): NameList((class_hash("ok"),))},
)


File = tuple[tuple[str, ...], int]
"""Segments and label horizon."""
Step = tuple[str, int, Any]
"""What happens, to which worker, and how."""


class Cut:
    """The ledger. Once so many calls were made, one fails before or after what it does, or others come in between."""

    def __init__(self, ledger: ReferenceLedger) -> None:
        self.ledger = ledger
        self.calls_left: int | None = None
        self.is_done = False
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.ledger, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            if self.calls_left is None:
                return await found(*arguments, **named)
            self.calls_left -= 1
            is_cut = self.calls_left < 0
            if is_cut and self.meanwhile is not None:
                self.calls_left = None
                await self.meanwhile()
                return await found(*arguments, **named)
            if not is_cut or self.is_done:
                reply = await found(*arguments, **named)
            if is_cut:
                raise TemporaryFailure("cut")
            return reply

        return call


@dataclasses.dataclass
class Time:
    """Wall time that moves on at each look."""

    ms: int = 0

    def now_ms(self) -> int:
        self.ms += 1
        return self.ms

    def monotonic_seconds(self) -> float:
        return 0.0


@dataclasses.dataclass
class Worker:
    """Reads a partition of its own. `packed` are parts by shard that it has not handed in yet."""

    source: Source
    agreed: AgreedModels | None = None
    packed: list[tuple[int, Part]] = dataclasses.field(default_factory=list)


class World:
    """Workers, their ledger and what may happen to them."""

    def __init__(self) -> None:
        self.ledger = ReferenceLedger(shards=SHARDS, label_hold_ms=0, keep_windows_ms=10**12)
        self.port = Cut(self.ledger)
        self.workers = [Worker(Source(Role.PREDICTIONS, number)) for number in range(WORKERS)]
        self.time = Time()
        self.high_ms = 100
        self.ids = itertools.count()
        self.saved: list[Any] = []

    async def found(self) -> None:
        await self.ledger.found(Charter(ledger_id="one", shards=SHARDS, starts={}))
        for shard in range(SHARDS):
            sources = {worker.source: 0 for worker in self.workers}
            await self.ledger.create(shard, ledger_id="one", sources=sources)

    async def start(self, worker: Worker, file: File) -> None:
        worker.agreed, worker.packed = None, []
        names, horizon_ms = file
        model = dataclasses.replace(MODEL, segments=names, label_horizon_ms=horizon_ms)
        charter = await settle_agreements(self.port, {"m": model}, read_ahead_ms=0, now_ms=self.time.now_ms)
        worker.agreed = AgreedModels(self.port, self.time, charter)

    def pack(self, worker: Worker, offsets_ms: list[int]) -> None:
        """A prediction for each shard at each of these times from the largest there was."""
        if worker.agreed is None or worker.packed:
            return
        now = worker.agreed.now
        eras = now.eras(MODEL)
        times_ms = [max(100, self.high_ms + offset) for offset in offsets_ms]
        for shard in range(SHARDS):
            rows = []
            for time_ms in times_ms:
                era = eras[in_force(eras, time_ms)]
                slices = tuple(segment_hash({name: "x"}) for name in era.segments)
                terms = TERMS[era.label_horizon_ms].hash
                key = request_key(str(next(self.ids)))
                rows.append(PredictionRow(key, terms, time_ms, time_ms, class_hash("ok"), False, slices))
            packed = pack_predictions(rows, words=len(NAMES))
            part = Part(
                source=worker.source,
                expected=0,
                next=0,
                high_ms=max(times_ms),
                words=len(NAMES),
                rows=packed,
                edition=now.edition,
            )
            worker.packed.append((shard, part))
        self.high_ms = max(self.high_ms, *times_ms)

    async def hand_in(self, worker: Worker) -> None:
        packed, worker.packed = worker.packed, []
        for shard, part in packed:
            state = await self.ledger.state(shard)
            assert state is not None
            expected = state.sources[worker.source].next
            part = dataclasses.replace(part, expected=expected, next=expected + 1)
            reply = await self.port.commit(shard, [part], DEFINITIONS, forget_limit=0)
            if reply.parts[0].outcome is Outcome.OUTDATED and worker.agreed is not None:
                await worker.agreed.renew()

    async def look(self, worker: Worker) -> None:
        if worker.agreed is not None:
            states = [await self.port.state(shard) for shard in range(SHARDS)]
            await worker.agreed.look(await self.port.charter(), states)

    def save(self) -> None:
        self.saved.append(copy.deepcopy((self.ledger.parts, self.ledger._charter)))

    def go_back(self) -> None:
        """The store loses its tail, as one server does."""
        if self.saved:
            self.ledger.parts, self.ledger._charter = copy.deepcopy(self.saved[-1])

    async def interrupted(self, step: Step, calls: int, how: bool | list[Step] | None) -> None:
        """Take a step that is cut after so many calls (`how`: whether that call is made), or that others interrupt."""

        async def meanwhile() -> None:
            for other in how if isinstance(how, list) else ():
                if other[1] != step[1]:
                    await self.do(*other)

        self.port.calls_left = None if how is None else calls
        self.port.is_done, self.port.meanwhile = how is True, meanwhile if isinstance(how, list) else None
        try:
            await self.do(*step)
        finally:
            self.port.calls_left = None

    async def do(self, what: str, number: int, how: Any) -> None:
        worker = self.workers[number]
        match what:
            case "start":
                await self.start(worker, how)
            case "pack":
                self.pack(worker, how)
            case "hand in":
                await self.hand_in(worker)
            case "look":
                await self.look(worker)
            case "save":
                self.save()
            case _:
                self.go_back()

    async def check(self) -> None:
        charter = await self.ledger.charter()
        assert charter is not None
        eras = charter.agreed.eras(dataclasses.replace(MODEL, segments=NAMES))
        for shard in self.ledger.parts:
            for (_, start_ms), finality_ms in shard.window_finality_ms.items():
                assert finality_ms <= settled_ms(eras, start_ms + 10), (start_ms, eras)
            for (_, start_ms), cells in shard.cells.items():
                counted = dict.fromkeys(("", *NAMES), 0)
                for (piece, label, _), count in cells.items():
                    for name in counted:
                        if label != SUM and piece == (segment_hash({name: "x"}) if name else EVERYTHING):
                            counted[name] += count
                for slice_ in whole_slices(eras, start_ms, start_ms + 10):
                    assert counted[""] == counted["".join(slice_)], (slice_, start_ms, eras)


FILES = st.tuples(st.sets(st.sampled_from(NAMES)).map(lambda names: tuple(sorted(names))), st.sampled_from(HORIZONS_MS))
NUMBERS = st.integers(0, WORKERS - 1)
TIMES = st.lists(st.integers(-40, 60), min_size=1, max_size=3)
DOINGS = st.one_of(
    st.tuples(st.just("start"), NUMBERS, FILES),
    st.tuples(st.just("pack"), NUMBERS, TIMES),
    st.tuples(st.just("hand in"), NUMBERS, st.none()),
    st.tuples(st.just("look"), NUMBERS, st.none()),
)
STEPS = DOINGS | st.tuples(st.sampled_from(("save", "go back")), NUMBERS, st.none())
CUTS = st.tuples(st.integers(0, 15), st.none() | st.booleans() | st.lists(DOINGS, min_size=1, max_size=4))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(STEPS, CUTS), min_size=5, max_size=40))
def test_no_slice_is_claimed_that_was_counted_in_part_and_no_window_is_final_too_soon(
    steps: list[tuple[Step, Any]],
) -> None:
    asyncio.run(_live(steps))


async def _live(steps: list[tuple[Step, Any]]) -> None:
    world = World()
    await world.found()
    for number, worker in enumerate(world.workers):
        await world.start(worker, (NAMES[:number], HORIZONS_MS[number]))
    for step, interruption in steps:
        try:
            await world.interrupted(step, *interruption)
        except TemporaryFailure:
            pass
        except PermanentFailure as failure:
            assert "know" in str(failure)  # noqa: PT017  (nothing more is counted then)
            return
        await world.check()
    # All who are left agree in the end, and go on.
    for worker in world.workers:
        await world.look(worker)
    for worker in world.workers:
        await world.look(worker)
        world.pack(worker, [50])
        await world.hand_in(worker)
    await world.check()
    assert len({worker.agreed.now.edition for worker in world.workers if worker.agreed is not None}) <= 1
