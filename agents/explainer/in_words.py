"""One explanation for people at a prompt."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from agents.terminal_text import cell_len, fit, printable
from schemas.explanation import NOTES, Attribution, Explanation, Fit

__all__ = ["in_words"]

BAR_CHARACTERS = 24
RULE_CHARACTERS = 60


def in_words(explanation: Explanation) -> str:
    """Several lines without the last line's end."""
    return "\n".join(map(str.rstrip, _lines(explanation)))


def _lines(explanation: Explanation) -> Iterator[str]:
    version = f", version {explanation.model_version}" if explanation.model_version else ""
    source = explanation.source
    yield printable(f"{explanation.model}{version}: request {explanation.request_id}, instance {explanation.instance}")
    yield printable(f"at {source.topic}/{source.partition}, offset {source.offset}")
    yield ""
    yield printable(_verdict(explanation))
    if explanation.failure is not None:
        yield ""
        yield printable(f"Not explained, {explanation.failure.reason}: {explanation.failure.message}")
        return
    if explanation.attributions:
        yield ""
        yield from _bars(explanation.attributions)
    if explanation.fit is not UNSET:
        yield ""
        yield from _fit(explanation.fit, explanation.answer or 0.0)
    if explanation.imputed:
        yield printable(
            "Missing, and taken as usual: " + ", ".join(f"{k} = {v}" for k, v in explanation.imputed.items())
        )
    for note in explanation.notes or ():
        yield NOTES[note]


def _verdict(explanation: Explanation) -> str:
    if explanation.predicted is None and explanation.failure is not None:
        # Whether a class or a number was predicted is not known of what could not be read.
        return "There is no label yet." if explanation.label is None else f"The label is {explanation.label}."
    if explanation.predicted is None:
        answer = "" if explanation.answer is UNSET else f"; asked again, the model answers {explanation.answer:.4g}"
        truth = "" if explanation.label is None else f", the label is {explanation.label}"
        return f"A number was predicted{truth}{answer}."
    truth = ", no label yet"
    if explanation.label is not None:
        is_right = explanation.label == explanation.predicted
        truth = f", the label is {explanation.label}: " + ("right" if is_right else "wrong")
    asked = "" if explanation.answer is UNSET else f" (asked again: {explanation.answer:.3f})"
    return f"Predicted {explanation.predicted}{asked}{truth}."


def _bars(attributions: tuple[Attribution, ...]) -> Iterator[str]:
    largest = max(abs(each.weight) for each in attributions) or 1.0
    rules = [printable(each.rule) for each in attributions]
    width = min(max(map(cell_len, rules)), RULE_CHARACTERS)
    for each, rule in zip(attributions, rules, strict=True):
        bar = ("+" if each.weight > 0 else "-") * round(abs(each.weight) / largest * BAR_CHARACTERS)
        error = "" if each.standard_error is None else f" ± {each.standard_error:.3f}"
        yield f"  {fit(rule, width)}  {each.weight:+.3f}{error}  {bar}"


def _fit(found: Fit, answer: float) -> Iterator[str]:
    r2 = "undefined" if found.r2 is None else f"{found.r2:.2f}"
    yield (
        f"+ speaks for the answer, - against it. The local model says {found.local_prediction:.3f} here,"
        f" the model {answer:.3f}."
    )
    if found.stability is not None:
        yield (
            f"Fit (R²) {r2}; {found.stability:.0%} of these features would be named by other neighbours too;"
            f" {found.samples:,} neighbours, pool {found.pool_id}."
        )
    elif found.r2 is not None:
        yield f"Fit (R²) {r2}; {found.samples:,} neighbours."
