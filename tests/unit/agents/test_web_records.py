"""The API's single records over real HTTP: explanations page by page, dead letters, and when neither is shown."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import jsonschema
import msgspec
import pytest

from agents.web.records import RecordReader
from streams.errors import LatelabelError, PermanentFailure, TemporaryFailure
from tests.support.fleet import NOON_MS
from tests.support.page_server import FakeLetters, kept_ones, serve_page, some_records
from tests.support.page_world import explained, letter
from tests.support.publishing import FakeAlerts, FakeReports
from tests.unit.agents.test_web_api import Asker

PATH = "/api/v1/models/fraud/explanations"


@contextlib.asynccontextmanager
async def asking(records: RecordReader) -> AsyncIterator[Asker]:
    reports = FakeReports()
    async with (
        serve_page(reports, FakeAlerts(reports), records=records) as port,
        aiohttp.ClientSession() as session,
    ):
        yield Asker(session, port)


def values(count: int) -> list[bytes]:
    return [
        msgspec.json.encode(explained(f"r{number:02}", time_ms=NOON_MS + number, label="ok" if number % 2 else "fraud"))
        for number in range(count)
    ]


async def test_explanations_come_as_they_were_published_page_by_page_newest_first() -> None:
    published = values(12)
    async with asking(some_records(kept_ones(published), explained=["fraud"])) as api:
        answer = await api.get(PATH, limit="5")
        seen = answer["explanations"]
        while answer["next_cursor"] is not None:
            answer = await api.get(PATH, limit="5", cursor=answer["next_cursor"])
            seen += answer["explanations"]
        assert [msgspec.json.decode(value) for value in reversed(published)] == seen
        assert (True, None) == (answer["is_explained"], answer["trouble"])
        wrong = await api.get(PATH, wrong="true")
        assert {("fraud", "ok")} == {(each["label"], each["predicted"]) for each in wrong["explanations"]}
        first = await api.get(PATH, since="2026-11-23T12:00:00Z", until="2026-11-23T12:00:00.003Z", version="3")
        assert ["r02", "r01", "r00"] == [each["request_id"] for each in first["explanations"]]
        assert [] == (await api.get(PATH, version="4"))["explanations"]


async def test_model_that_is_not_explained_and_a_topic_that_cannot_be_read_say_so() -> None:
    async with asking(some_records(explained=["fraud"], trouble="Kafka does not answer")) as api:
        assert "Kafka does not answer" == (await api.get(PATH))["trouble"]
        other = await api.get("/api/v1/models/price/explanations")
        assert ([], False, None) == (other["explanations"], other["is_explained"], other["trouble"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("cursor", "5"), ("cursor", "5-xyz"), ("cursor", "-00"), ("wrong", "yes"), ("limit", "101"), ("since", "noon"),
     ("size", "60")],
)  # fmt: skip
async def test_malformed_parameter_is_named(name: str, value: str) -> None:
    async with asking(some_records()) as api:
        assert (400, name) == await api.refused(PATH, **{name: value})


async def test_dead_letters_are_listed_with_reasons_and_one_can_be_looked_at() -> None:
    text = '{"request_id": "é'
    cut = text.encode() + b"x" * 5000
    contents = {5: text.encode(), 6: b"\x00\x01", 7: None, 8: cut}
    letters = FakeLetters([letter(value, offset=offset) for offset, value in contents.items()])
    async with asking(some_records(letters=letters)) as api:
        listed = await api.get("/api/v1/dead-letters")
        assert ("dead-letters", 4) == (listed["topic"], listed["there"])
        row = listed["letters"][0]
        assert ("predictions", 3, 40) == (row["topic"], row["partition"], row["offset"])
        assert "malformed_json" == row["reason"]
        assert (None, len(text.encode())) == (row["time"], row["bytes"])
        one = await api.get("/api/v1/dead-letters/2/5")
        assert (text, True, 0, "r1") == (one["value"], one["is_text"], one["left_bytes"], one["key"])
        assert [["latelabel-reason", "malformed_json"], ["trace", "0x00ff"]] == one["headers"]
        binary = await api.get("/api/v1/dead-letters/2/6")
        assert ("00 01", False) == (binary["value"], binary["is_text"])
        assert (await api.get("/api/v1/dead-letters/2/7"))["value"] is None
        long = await api.get("/api/v1/dead-letters/2/8")
        assert len(cut) == len(long["value"].encode()) + long["left_bytes"]
        assert (404, "offset") == await api.refused("/api/v1/dead-letters/2/9")
        assert (400, "partition") == await api.refused("/api/v1/dead-letters/two/9")


@pytest.mark.parametrize("failure", [TemporaryFailure("Kafka is away"), PermanentFailure("grant Read on dead-letters")])
async def test_kafka_that_is_not_read_is_told_and_the_rest_is_served(failure: LatelabelError) -> None:
    async with asking(some_records(letters=FakeLetters(failure=failure))) as api:
        status, answer, _ = await api.ask("/api/v1/dead-letters")
        assert (503, str(failure)) == (status, answer["detail"])
        assert 200 == (await api.ask("/api/v1/system"))[0]


async def test_installation_that_shows_no_records_shows_none() -> None:
    records = some_records(
        kept_ones(values(3)), letters=FakeLetters([letter(b"x")]), explained=["fraud"], are_shown=False
    )
    async with asking(records) as api:
        for path in (PATH, "/api/v1/dead-letters", "/api/v1/dead-letters/2/5"):
            assert (403, None) == await api.refused(path)


async def test_answers_are_what_the_description_says() -> None:
    async with asking(
        some_records(kept_ones(values(3)), letters=FakeLetters([letter(b"x")]), explained=["fraud"])
    ) as api:
        document = await api.get("/api/v1/openapi.json")
        for path, asked in (
            ("/models/{model}/explanations", PATH),
            ("/dead-letters", "/api/v1/dead-letters"),
            ("/dead-letters/{partition}/{offset}", "/api/v1/dead-letters/2/5"),
        ):
            operation = document["paths"][f"/api/v1{path}"]["get"]
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(await api.get(asked), {**schema, "components": document["components"]})
