from __future__ import annotations

import pytest

from streams.alerting.templates import TemplateMistake, expand, parse_template

LABELS = {"model": "fraud"}
VALUES: dict[str, float | str | None] = {"value": 0.71324, "threshold": 1234567.0, "samples": "640", "coverage": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no places", "no places"),
        ("{{ $labels.model }}", "fraud"),
        ("{{$labels.absent}}.", "."),
        ("{{ $value }} {{ $samples }}", "0.71324 640"),
        ("{{ $value | humanizePercentage }}", "71.32%"),
        ("{{ $threshold | humanize }}", "1.235M"),
        ("{{ $samples | humanizeDuration }}", "10m 40s"),
        ('{{ printf "%.2f" $value }}', "0.71"),
        ('{{ $value | printf "%.1f of 100%%" }}', "0.7 of 100%"),
        ("{{ $coverage }}", ""),
        ("{{ $coverage | humanize }}", "<error expanding template: $coverage is not a number: None>"),
    ],
)
def test_place_is_filled_in_as_prometheus_does(text: str, expected: str) -> None:
    assert expected == expand(text, LABELS, VALUES)


@pytest.mark.parametrize(
    "text",
    ["{{ value }}", "{{ $value", "{{ $labels }}", "{{ if $value }}", '{{ printf "%x" $value }}', "{{ $value | f }}"],
)
def test_what_is_no_template_is_told_before_any_alert(text: str) -> None:
    with pytest.raises(TemplateMistake):
        parse_template(text)
    assert expand(text, LABELS, VALUES).startswith("<error expanding template: ")


def test_text_from_a_label_is_never_read_as_a_template() -> None:
    assert "{{ $value }}" == expand("{{ $labels.model }}", {"model": "{{ $value }}"}, VALUES)
