"""Configuration and alert rules of the demo, commented for readers: small ones of their own may start from them.

Addresses are left out: LATELABEL_KAFKA__BROKERS and LATELABEL_REDIS__URL give them.
"""

from __future__ import annotations

from pathlib import Path

from agents.demo.classifier import FEATURES, MODEL, NEGATIVE, POSITIVE, SIGNALS

__all__ = ["MODEL_FILE", "write_configuration"]

MODEL_FILE = "model.pkl"
"""Beside the configuration."""

TEMPLATE = f"""\
kafka:
  partitions: 4                 # one machine with two cores needs no more,
redis:
  shards: 2                     # nor more of these

evaluation_interval: 100ms      # a day of 2013 passes several times a second; usual is 10s
allowed_lateness: 1h            # within a partition the replay is in order, so an hour is generous
max_read_ahead: 365d            # in one second of replay, partitions are days of event time apart
keep_windows: 36500d            # the days are long past; keep them all

web: {{host: 127.0.0.1, port: @PORT@}}

models:
  - name: {MODEL}
    task: binary
    positive_class: {POSITIVE}
    classes: {{names: [{POSITIVE}, {NEGATIVE}]}}
    report_windows: [1d]        # UTC days
    label_horizon: 2d           # the latest landing is 32 hours after its schedule
    segments: [carrier, origin]
    signals:                    # what the model tells of its own state,
      names: [{", ".join(SIGNALS)}]
      reference_start: 2013-03-01T00:00:00Z
      reference_end: 2013-04-01T00:00:00Z       # compared with the first month that it served
    explain:                    # asked why it was wrong, while it runs
      predictor: {MODEL_FILE}
      allow_pickle: true        # the demo made this file itself, a moment ago
      features: [{", ".join(FEATURES)}]
      categorical: [weekday]
      rate_per_minute: 60

rule_files: [rules.yaml]        # what wakes somebody
"""

RULES = """\
# As Prometheus' rule files; deploy/guides/alerting.md explains them, `latelabel rules test` tests them.
groups:
  - name: quality
    rules:
      - alert: ScoresFarOff
        when: {metric: brier, model: @MODEL@, window: 1d, op: ">", value: @LIMIT@}
        for: 3d                 # that many days in a row beyond doubt,
        keep_firing_for: 7d     # and a week of better ones ends it
        labels: {severity: critical}
        annotations:
          summary: 'scores of {{ $labels.model }} are {{ printf "%.3f" $value }} off, the limit is {{ $threshold }}'
"""
LIMIT = 0.235
"""Of the mean squared distance of score and outcome. Bad days are spread over the year, but three in a row come with
the storms of summer and with winter, of which January and February have taught the model too little."""


def write_configuration(path: Path, *, web_port: int) -> None:
    """Write the file, and its rules beside it; `web_port` is free, so that a demo never meets a service that runs."""
    path.write_text(TEMPLATE.replace("@PORT@", str(web_port)))
    rules = RULES.replace("@MODEL@", MODEL).replace("@LIMIT@", str(LIMIT))
    path.with_name("rules.yaml").write_text(rules)
