"""One explanation as an HTML page that needs nothing else: bars, marked words, or a picture with its super-pixels.

Everything that came from outside is escaped, and the page runs no script.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import UNSET

from schemas.explanation import NOTES, Attribution, Explanation

__all__ = ["page_of"]

ROW_PIXELS = 26
LABEL_PIXELS = 330
BAR_PIXELS = 260
FOR, AGAINST = "#2b6cb0", "#c05621"
"""Blue and orange, which nearly everyone can tell apart; the sign is written beside them too."""

STYLE = """\
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a202c;background:#fff}
h1{font-size:1.2rem;margin:0}p{margin:.4rem 0}.dim{color:#4a5568}mark{padding:0 .1em;border-radius:.2em}
svg text{font:13px system-ui,sans-serif;fill:#1a202c}table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0}
@media(prefers-color-scheme:dark){body{background:#1a202c;color:#e2e8f0}.dim{color:#a0aec0}svg text{fill:#e2e8f0}}"""


def page_of(explanation: Explanation, *, text: str | None = None, image: bytes | None = None) -> str:
    """The page.

    Args:
        text: what was explained, to have its words marked.
        image: what was explained, as a PNG file, to lie under its super-pixels.
    """
    title = html.escape(f"{explanation.model}: {explanation.request_id}")
    body = "\n".join(_body(explanation, text, image))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline';"
        f' img-src data:">\n<style>\n{STYLE}\n</style></head>\n<body>\n<h1>{title}</h1>\n{body}\n</body></html>\n'
    )


def _body(explanation: Explanation, text: str | None, image: bytes | None) -> Iterator[str]:
    source = explanation.source
    version = f"version {explanation.model_version}, " if explanation.model_version else ""
    where = f"{version}{source.topic}/{source.partition}@{source.offset}, {explanation.produced_at}"
    yield f'<p class="dim">{html.escape(where)}</p>'
    yield f"<p>Predicted <b>{_text(explanation.predicted)}</b>, the label is <b>{_text(explanation.label)}</b>.</p>"
    if explanation.failure is not None:
        yield f"<p><b>Not explained</b>, {explanation.failure.reason}: {html.escape(explanation.failure.message)}</p>"
        return
    attributions = explanation.attributions or ()
    of = "" if explanation.explained_class is None else f" for <b>{_text(explanation.explained_class)}</b>"
    yield f"<p>Asked again, the model answers {explanation.answer:.4g}{of}. What speaks for and against it:</p>"
    if text is not None and attributions:
        yield f'<p style="white-space:pre-wrap">{_marked(text, attributions)}</p>'
    if any(each.box is not UNSET for each in attributions):
        yield _boxes(attributions, image)
    if attributions:
        yield _bars(attributions)
    yield from _trust(explanation)


def _bars(attributions: Sequence[Attribution]) -> str:
    largest = max(abs(each.weight) + (each.standard_error or 0.0) for each in attributions) or 1.0
    scale, middle = BAR_PIXELS / 2 / largest, LABEL_PIXELS + BAR_PIXELS / 2
    height = ROW_PIXELS * len(attributions) + 8
    width = LABEL_PIXELS + BAR_PIXELS + 150
    parts = [
        f'<svg role="img" aria-label="weights by feature" viewBox="0 0 {width} {height}" width="100%">',
        f'<line x1="{middle}" x2="{middle}" y1="0" y2="{height}" stroke="#a0aec0"/>',
    ]
    for row, each in enumerate(attributions):
        top = row * ROW_PIXELS + 4
        length = abs(each.weight) * scale
        left = middle if each.weight > 0 else middle - length
        color = FOR if each.weight > 0 else AGAINST
        rule = each.rule if len(each.rule) <= 45 else each.rule[:44] + "…"
        error = "" if each.standard_error is None else f" ± {each.standard_error:.3f}"
        parts.append(
            f'<text x="{LABEL_PIXELS - 8}" y="{top + 14}" text-anchor="end">{html.escape(rule)}</text>'
            f'<rect x="{left:.1f}" y="{top}" width="{length:.1f}" height="{ROW_PIXELS - 8}" fill="{color}"/>'
            f'<text x="{LABEL_PIXELS + BAR_PIXELS + 8}" y="{top + 14}">{each.weight:+.3f}{error}</text>'
        )
        if each.standard_error:
            end, half = middle + each.weight * scale, 1.96 * each.standard_error * scale
            y = top + (ROW_PIXELS - 8) / 2
            parts.append(
                f'<line x1="{end - half:.1f}" x2="{end + half:.1f}" y1="{y}" y2="{y}" stroke="#718096"'
                ' stroke-width="2"/>'
            )
    return "".join([*parts, "</svg>"])


def _marked(text: str, attributions: Sequence[Attribution]) -> str:
    """The text with the words that decided; stronger colours decided more."""
    largest = max(abs(each.weight) for each in attributions) or 1.0
    spans = sorted((each.span, each) for each in attributions if each.span is not UNSET and each.span is not None)
    parts, at = [], 0
    for (start, end), each in spans:
        if start < at or end > len(text):
            continue
        strength = round(abs(each.weight) / largest * 200) + 30
        color = f"{FOR if each.weight > 0 else AGAINST}{strength:02x}"
        word = html.escape(text[start:end])
        parts += [
            html.escape(text[at:start]),
            f'<mark style="background:{color}" title="{each.weight:+.3f}">{word}</mark>',
        ]
        at = end
    return "".join([*parts, html.escape(text[at:])])


def _boxes(attributions: Sequence[Attribution], image: bytes | None) -> str:
    """Where the super-pixels are, as boxes around them, over the image if it is there."""
    boxes = [(each.box, each) for each in attributions if each.box is not UNSET]
    width, height = max(box[2] for box, _ in boxes), max(box[3] for box, _ in boxes)
    if image is not None:
        # Of a PNG file, big-endian: its header chunk begins after 16 bytes. Source: PNG specification, 11.2.1.
        width, height = (int.from_bytes(image[at : at + 4]) for at in (16, 20))
    largest = max(abs(each.weight) for _, each in boxes) or 1.0
    parts = [f'<svg role="img" aria-label="super-pixels" viewBox="0 0 {width} {height}" width="{min(4 * width, 600)}">']
    if image is not None:
        data = base64.b64encode(image).decode()
        parts.append(f'<image href="data:image/png;base64,{data}" width="{width}" height="{height}"/>')
    for (left, top, right, bottom), each in boxes:
        color = FOR if each.weight > 0 else AGAINST
        parts.append(
            f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="{color}"'
            f' fill-opacity="{abs(each.weight) / largest * 0.7:.2f}"><title>{each.weight:+.3f}</title></rect>'
        )
    return "".join([*parts, "</svg>"])


def _trust(explanation: Explanation) -> Iterator[str]:
    fit = explanation.fit
    if fit is not UNSET and fit is not None:
        r2 = "undefined" if fit.r2 is None else f"{fit.r2:.2f}"
        stable = "" if fit.stability is None else f"; other neighbours would name {fit.stability:.0%} of these features"
        yield (
            f'<p class="dim">Local model {fit.local_prediction:.3f}, fit (R²) {r2}{stable};'
            f" {fit.samples:,} neighbours, seed {fit.seed}, pool {html.escape(fit.pool_id)}.</p>"
        )
    if explanation.imputed:
        taken = ", ".join(f"{name} = {value}" for name, value in explanation.imputed.items())
        yield f"<p>Missing, and taken as usual: {html.escape(taken)}</p>"
    for note in explanation.notes or ():
        yield f"<p>{html.escape(NOTES[note])}</p>"


def _text(value: Any) -> str:
    return "unknown" if value is None else html.escape(str(value))
