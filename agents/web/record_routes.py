"""The API's routes to single records; a part of `agents.web.api`."""

from __future__ import annotations

from aiohttp import web

from agents.web.api import MODEL, SEGMENT, TEXT, TIME, Parameter, Route
from agents.web.queries import Query, whole_number
from agents.web.record_documents import DeadLetterPage, DeadLetters, Explanations
from agents.web.records import CURSOR, RecordReader, read_cursor
from streams.explanation.kept import ExplanationsAsked

__all__ = ["record_routes"]

MOST_EXPLANATIONS = 100
USUAL_EXPLANATIONS = 20
HIGHEST_PARTITION = (1 << 31) - 1
HIGHEST_OFFSET = 10**15 - 1


def record_routes(reader: RecordReader) -> tuple[Route, ...]:
    """All of them."""

    async def explanations(request: web.Request) -> Explanations:
        query = Query(request, "version", "segment", "since", "until", "wrong", "cursor", "limit")
        wrong, cursor = query.choice("wrong", ["true", "false"]), query.text("cursor")
        asked = ExplanationsAsked(
            model=request.match_info["model"],
            model_version=query.text("version"),
            segment=query.segment("segment"),
            since_ms=query.time_ms("since"),
            until_ms=query.time_ms("until"),
            is_wrong=None if wrong is None else wrong == "true",
            before=None if cursor is None else read_cursor(cursor),
        )
        most = query.number("limit", least=1, most=MOST_EXPLANATIONS) or USUAL_EXPLANATIONS
        return reader.explanations(asked, most=most)

    async def dead_letters(request: web.Request) -> DeadLetters:
        Query(request)
        return await reader.dead_letters()

    async def dead_letter(request: web.Request) -> DeadLetterPage:
        Query(request)
        return await reader.dead_letter(
            whole_number("partition", request.match_info["partition"], least=0, most=HIGHEST_PARTITION),
            whole_number("offset", request.match_info["offset"], least=0, most=HIGHEST_OFFSET),
        )

    return (
        Route(
            "/models/{model}/explanations", "explanations",
            "The newest explanations of its predictions that this worker has read, newest event time first.",
            Explanations, explanations,
            (
                MODEL,
                Parameter("version", "Version of the model; without it all.", TEXT),
                Parameter("segment", 'A slice, {"country":"DE"}; without it all predictions.', SEGMENT, is_json=True),
                Parameter("since", "Predictions at or after this time.", TIME),
                Parameter("until", "Predictions before this time.", TIME),
                Parameter("wrong", "Those whose label says otherwise, or the others.", {"enum": ["true", "false"]}),
                Parameter("cursor", "`next_cursor` of the page before.", {"type": "string", "pattern": f"^{CURSOR}$"}),
                Parameter(
                    "limit", f"At most so many; without it {USUAL_EXPLANATIONS}.",
                    {"type": "integer", "minimum": 1, "maximum": MOST_EXPLANATIONS},
                ),
            ),
        ),
        Route(
            "/dead-letters", "dead_letters", "The newest dead letters, and why they are.", DeadLetters, dead_letters,
            asks_kafka=True,
        ),
        Route(
            "/dead-letters/{partition}/{offset}", "dead_letter", "One dead letter, by where it lies on its topic.",
            DeadLetterPage, dead_letter,
            (
                Parameter(
                    "partition", "Of the topic of dead letters.",
                    {"type": "integer", "minimum": 0, "maximum": HIGHEST_PARTITION}, is_in_path=True,
                ),
                Parameter(
                    "offset", "Where it lies there.",
                    {"type": "integer", "minimum": 0, "maximum": HIGHEST_OFFSET}, is_in_path=True,
                ),
            ),
            asks_kafka=True,
        ),
    )  # fmt: skip
