"""`latelabel explain`: why one prediction came out as it did, on demand."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson

from agents.clock import SystemClock
from agents.commands.command_line import FAILED, Invocation
from agents.commands.output import Duration, OutputFormat, format_option
from agents.explainer.child_process import ChildLimits, ChildProcess
from agents.explainer.in_words import in_words
from agents.explainer.record_log import RecordLog
from agents.explainer.search import FoundPrediction, find_labels, find_predictions
from agents.explainer.workshop import Workshop
from agents.settings import Settings
from schemas.classes import class_name
from schemas.codec import read_features
from schemas.errors import Rejected
from schemas.explain_request import ExplainRequest, WhyAsked
from schemas.explanation import Explanation
from schemas.label import Label
from schemas.prediction import Prediction
from streams.errors import PermanentFailure
from streams.explanation.refusal import Refused
from streams.explanation.terms import ExplainTerms, InputKind
from streams.monitored_model import DAY_MS

__all__ = ["explain"]


@click.command()
@click.argument("request_id")
@click.option("--instance", type=click.IntRange(min=0), metavar="N", help="Which row of the request.")
@click.option("--model", metavar="M", help="Which model's prediction, if several models answered the request.")
@click.option(
    "--since", "since_ms", type=Duration(), default=DAY_MS, metavar="DURATION", show_default="1d",
    help="How far back to search the topics; 0 searches all that Kafka keeps.",
)  # fmt: skip
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Also draw it, as an HTML page that needs nothing else.",
)  # fmt: skip
@format_option
@click.pass_obj
def explain(
    invocation: Invocation,
    request_id: str,
    instance: int | None,
    model: str | None,
    since_ms: int,
    picture: Path | None,
    output: str,
) -> int:
    """Explain the prediction of REQUEST_ID: which features decided, and how sure that is.

    Finds the prediction and its label on the topics, and asks the model about neighbours, in a process of its own.
    Needs `explain.predictor` of the model in the configuration. Exits with 1 if there is no explanation.
    """
    settings = invocation.settings()
    invocation.log_by(settings)
    explanation, prediction = asyncio.run(
        _explain(settings, request_id, instance=instance, model=model, since_ms=since_ms)
    )
    if output == OutputFormat.JSONL:
        sys.stdout.buffer.write(orjson.dumps(msgspec.to_builtins(explanation), option=orjson.OPT_APPEND_NEWLINE))
    else:
        click.echo(in_words(explanation))
    if picture is not None:
        from agents.explainer.picture import page_of

        terms = settings.model(prediction.model).explanation
        picture.write_text(page_of(explanation, **_media(prediction, terms)), encoding="utf-8")
    return FAILED if explanation.failure else 0


async def _explain(
    settings: Settings, request_id: str, *, instance: int | None, model: str | None, since_ms: int
) -> tuple[Explanation, Prediction]:
    clock = SystemClock()
    begin_ms = clock.now_ms() - since_ms if since_ms else 0
    topics = {role: settings.kafka.topic(role) for role in ("predictions", "labels")}
    found = await find_predictions(settings.kafka, topics["predictions"], request_id, since_ms=begin_ms)
    chosen = _chosen(found, request_id, instance=instance, model=model)
    labels = await find_labels(settings.kafka, topics["labels"], request_id, since_ms=begin_ms)
    child = ChildProcess(ChildLimits.of(settings.explainer))
    async with contextlib.AsyncExitStack() as stack:
        log = RecordLog(settings.kafka)
        await log.start()
        stack.push_async_callback(log.stop)
        stack.push_async_callback(child.stop)
        request = _request(chosen, _label(labels, chosen, settings))
        (explanation,) = await Workshop(settings, log, child, clock).explain([request])
    return explanation, chosen.prediction


def _media(prediction: Prediction, terms: ExplainTerms | None) -> dict[str, Any]:
    """The text or the image that was explained, as `page_of` takes it, if it is one and may be told."""
    if terms is None or terms.input is InputKind.TABULAR:
        return {}
    (name,) = terms.features
    if name in terms.hashed or (terms.shown is not None and name not in terms.shown):
        return {}
    with contextlib.suppress(Refused, Rejected):
        value = read_features(prediction).get(name)
        if terms.input is InputKind.IMAGE:
            from agents.explainer.media_subject import png_of

            return {"image": png_of(name, value)}
        return {"text": value}
    return {}


def _chosen(
    found: list[FoundPrediction], request_id: str, *, instance: int | None, model: str | None
) -> FoundPrediction:
    """The one prediction that is meant.

    Raises: PermanentFailure if there is none, or more than one.
    """
    fitting: dict[tuple[str, str, int], FoundPrediction] = {}
    for each in found:
        prediction = each.prediction
        if model in (None, prediction.model) and instance in (None, prediction.instance):
            # A repeat is never counted, so the first of equals is meant.
            fitting.setdefault((prediction.model, prediction.model_version, prediction.instance), each)
    if not fitting:
        raise PermanentFailure(
            f"no prediction of the request {request_id!r} is on the topic, as far back as was searched; see --since"
        )
    if len(fitting) > 1:
        listed = ", ".join(
            f"{name} {version} instance {number}".replace("  ", " ") for name, version, number in fitting
        )
        raise PermanentFailure(
            f"the request {request_id!r} has several predictions: {listed}; add --model or --instance"
        )
    return next(iter(fitting.values()))


def _label(labels: list[Label], chosen: FoundPrediction, settings: Settings) -> str | None:
    prediction = chosen.prediction
    aliases = settings.model(prediction.model).class_aliases
    for label in reversed(labels):
        if label.instance == prediction.instance and label.model in (None, prediction.model):
            with contextlib.suppress(Rejected):
                return class_name(label.label, aliases)
    return None


def _request(found: FoundPrediction, label: str | None) -> ExplainRequest:
    prediction = found.prediction
    return ExplainRequest(
        request_id=prediction.request_id,
        instance=prediction.instance,
        model=prediction.model,
        model_version=prediction.model_version,
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        reason=WhyAsked.ASKED,
        label=label,
    )
