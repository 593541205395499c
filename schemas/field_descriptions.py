"""What each field means, for those who read the contract and not this code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.limits import LIST_ENTRIES, NAME_BYTES, REQUEST_ID_BYTES

__all__ = ["DESCRIPTIONS"]

_REQUEST_ID = (
    f"Joins prediction and label: 1 to {REQUEST_ID_BYTES} bytes of UTF-8. Two spellings of one UUID are two ids."
)
_INSTANCE = "Tells the rows of one request apart; default 0."
_CLASS = (
    f'A class: text of at most {NAME_BYTES} bytes, true, false or a number, where 1, 1.0 and "1" are one class.'
    f" A number of at most 1e12 in size for regression. A list of at most {LIST_ENTRIES} of them for multilabel, where"
    " it is a set, and for ranking, where the best item comes first."
)  # fmt: skip

_REPORT_HEAD = {
    "kind": "What the report is about.",
    "model": "Model.",
    "model_version": "Its version, empty if predictions name none.",
    "segment": 'The slice: {} is everything, {"country": "DE"} one value of a declared name.',
    "window": "Which predictions are counted, by their event time.",
    "status": "open: predictions are due. provisional: labels are due. final: nothing can change. incomplete:"
    " input was lost.",
}
_REPORT_IDENTITY = {
    "revision": "Orders the reports of one key: keep the highest. Nothing more.",
    "event_id": "Equal for equal content: UUIDv5 of key and content.",
}
_REPORT_END = {
    "config_hash": "Names the settings that the figures depend on.",
    "produced_at": "When this revision was made.",
}

DESCRIPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "SentPrediction": {
            "request_id": _REQUEST_ID,
            "model": f"1 to {NAME_BYTES} bytes.",
            "instance": _INSTANCE,
            "model_version": f"At most {NAME_BYTES} bytes; default empty.",
            "event_time": "When the model answered, RFC 3339 with a zone; default the record's Kafka timestamp. Cut to"
            " milliseconds; not before the year 2000, nor more than max_future_skew ahead of the clock.",
            "prediction": f"The answer; required unless status says that there is none. {_CLASS}",
            "score": "Probability of the positive class (binary), or of the predicted class.",
            "probabilities": "Probability of each class.",
            "features": "Inputs of the model, for explanations and drift; never kept in Redis.",
            "segment": f"Values by name, each of at most {NAME_BYTES} bytes. Only names that the configuration declares"
            " count.",
            "signals": "Internal state that the model reports.",
            "latency_ms": "How long the answer took.",
            "status": "Default ok. Anything else is counted as failed and waits for no label.",
            "error": "What went wrong, for people.",
        },
        "SentLabel": {
            "request_id": _REQUEST_ID,
            "label": f"What was true. {_CLASS} Of a ranking, items that are relevant: every label adds its own.",
            "instance": _INSTANCE,
            "event_time": "When the truth became known, RFC 3339 with a zone; default the record's Kafka timestamp.",
            "model": "Only this model's predictions are meant; default all.",
            "source": "Who says so.",
        },
        "SentResourceSample": {
            "target": f"What is watched, such as a host or pod: 1 to {NAME_BYTES} bytes. With event_time it identifies"
            " the sample.",
            "model": f"1 to {NAME_BYTES} bytes.",
            "model_version": f"At most {NAME_BYTES} bytes; default empty.",
            "event_time": "When it was measured, RFC 3339 with a zone; default the record's Kafka timestamp.",
            "cpu_cores": "Cores in use since the sample before, child processes included.",
            "cpu_limit_cores": "Cores that may be used; absent without a limit.",
            "cpu_throttled_ratio": "Share of the scheduler's periods since the sample before in which the target was"
            " held back by its limit.",
            "rss_bytes": "Resident memory of the process and its children.",
            "working_set_bytes": "Memory of the container less what the kernel can drop at once; what its limit is"
            " held against.",
            "memory_limit_bytes": "Beyond it the target is killed; absent without a limit.",
            "open_fds": "Open files and sockets.",
            "threads": "Threads.",
            "gpu": "All graphics processors that the target uses, together.",
            "process_start_time": "When the process was started, RFC 3339; another one is a restart.",
            "oom_kills": "Processes of the container killed for want of memory since it was made.",
            "pressure": "Share of the last ten seconds in which something waited for a resource.",
            "queue_length": "Requests that wait to be answered.",
        },
        "Gpu": {
            "memory_used_bytes": "In use by anybody.",
            "memory_limit_bytes": "All that the processors have.",
            "utilization_ratio": "Mean share of time in which they computed.",
            "temperature_celsius": "Of the hottest.",
            "ecc_errors": "Memory errors that were not corrected, since the driver was loaded.",
            "cache_ratio": "How full the inference server's cache of keys and values is.",
        },
        "Pressure": {
            "cpu_ratio": "For a processor.",
            "memory_ratio": "For memory.",
            "io_ratio": "For a disk.",
        },
        "WindowReport": {
            **_REPORT_HEAD,
            "missing": "What input was lost; only if status is incomplete.",
            **_REPORT_IDENTITY,
            "predictions": "Answered predictions.",
            "failed": "Requests whose status was not ok; not among predictions.",
            "labelled": "Predictions that have a label.",
            "never_labelled": "Predictions without one, once none of the window can get one any more; 0 until then.",
            "coverage": "labelled / predictions; null without predictions.",
            "coverage_expected": "What past windows of the model had at this age and at the end.",
            "label_delay_seconds": "Percentiles of label time minus prediction time.",
            "confusion": "Pairs of label and prediction; null without any and for numbers and lists.",
            "at_k": "How many items of a ranking count in figures called ..._at_k.",
            "metrics": "Figures by name, defined as in scikit-learn; an undefined one has null as value.",
            "undefined": "Why a metric has no value.",
            "per_class": "Each class against the rest.",
            **_REPORT_END,
        },
        "StabilityReport": {
            **_REPORT_HEAD,
            "missing": "What predictions were lost; only if status is incomplete.",
            **_REPORT_IDENTITY,
            "predictions": "Answered predictions.",
            "failed": "Requests whose status was not ok; not among predictions.",
            "timed_out": "Those of them whose status was timeout.",
            "with_latency": "Answered predictions that told their latency_ms.",
            "metrics": "Figures by name; an undefined one has null as value, and a quantile of few latencies as high.",
            "undefined": "Why a metric has no value.",
            **_REPORT_END,
        },
        "SignalsReport": {
            **_REPORT_HEAD,
            "missing": "What predictions were lost; only if status is incomplete.",
            **_REPORT_IDENTITY,
            "predictions": "Answered predictions.",
            "failed": "Requests whose status was not ok; not among predictions.",
            "values": "By signal, how many of the predictions told a finite value.",
            "left_out": "Values of signals beyond limits.signals, which have no figures.",
            "reference": "What psi compares with; absent if nothing is configured.",
            "metrics": "Figures by name, such as signal.margin.p95; an undefined one has null as value, and a quantile"
            " of few values as low or high.",
            "undefined": "Why a metric has no value.",
            **_REPORT_END,
        },
        "ComparedWith": {
            "start": "First moment, RFC 3339 in UTC.",
            "end": "First moment after it.",
            "model_version": "Whose predictions it is made of.",
            "values": "Of each signal, how many; empty while there is no reference for this window.",
        },
        "ResourceReport": {
            **_REPORT_HEAD,
            **_REPORT_IDENTITY,
            "samples": "Samples of the target in this window.",
            "memory": "As of the newest of them; null if none tells of memory.",
            "metrics": "Figures by name, observed, so that low and high are the value itself but for growth; an"
            " undefined one has null as value.",
            "undefined": "Why a metric has no value.",
            **_REPORT_END,
        },
        "SystemReport": {
            **_REPORT_HEAD,
            **_REPORT_IDENTITY,
            "model": "Empty: the report is about the monitor itself.",
            "model_version": "Empty.",
            "segment": "The worker by its number, which whoever replaces it takes over.",
            "window": "When it looked, by wall time.",
            "status": "open: it goes on looking. final: the window is over.",
            "samples": "How often the worker looked at itself in this window.",
            "address": "Where it answers, host and port.",
            "program_version": "What runs there.",
            "fates": "By topic, of the whole ledger: records read, and what became of them, as of the last look.",
            "violations": "What does not add up, by shard; empty if every record has exactly one fate.",
            "metrics": "Figures by name, observed, so that low and high are the value itself; an undefined one has null"
            " as value.",
            "undefined": "Why a metric has no value.",
            **_REPORT_END,
        },
        "Memory": {
            "state": "How it has grown since the process was started.",
            "bytes": "What the limit is held against; null if no sample tells.",
            "limit_bytes": "null without a limit.",
        },
        "Metric": {
            "value": "null if undefined.",
            "low": "Lower end of the interval for the sampling of the labelled.",
            "high": "Upper end of it.",
            "n": "Labelled predictions that the figure rests on; of stability and signals, predictions; of resources,"
            " samples or blocks of time; of attribution, explanations; of the monitor itself, looks or records.",
            "possible": "Lowest and highest value that the missing labels can still make of it.",
            "bracket": "Lowest and highest value that scores in bins, or latencies and values in buckets, leave open.",
            "classes_left_out": "Classes for which the average has no term.",
        },
        "Confusion": {
            "classes": "In order of code points.",
            "counts": "Rows are labels, columns predictions, both in the order of classes.",
        },
        "Window": {
            "start": "First moment, RFC 3339 in UTC.",
            "end": "First moment after it.",
            "size_seconds": "Its length.",
        },
        "Alert": {
            "labels": "What the alert is, as Alertmanager groups and routes by: alertname, model, model_version,"
            " severity, rule, the segment's names, and the rule's own. The same for as long as it is on.",
            "annotations": "What there is to say about it now, for people: summary, description, value, threshold,"
            " ci_low, ci_high, samples, coverage, window_start, window_end, runbook_url.",
            "startsAt": "Since when it fires, RFC 3339 in UTC. A repeat has the same.",
            "endsAt": "When it ended; while it fires, when it ends unless it is sent again.",
            "generatorURL": "Where to look at what caused it.",
            "status": "firing or resolved.",
            "fingerprint": "Alertmanager's, from the labels; also the record's key.",
            "name": "The label alertname.",
            "severity": "The label severity, empty if the rule gives none.",
            "reason": "Why it fires or ended, in a few words that programs may match.",
        },
        "ExplainRequest": {
            "request_id": "Of the prediction; also the record's key.",
            "instance": _INSTANCE,
            "model": "Of the prediction.",
            "model_version": "Of the prediction, empty if it names none.",
            "topic": "Where the prediction stands.",
            "partition": "Where the prediction stands.",
            "offset": "Where the prediction stands.",
            "reason": "Why it was chosen.",
            "rate": "The share of its like that is asked about: divide by it to count how many it stands for.",
            "predicted": "Its class.",
            "label": "The class that was true, where that is known.",
        },
        "AttributionReport": {
            **_REPORT_HEAD,
            "status": "open: predictions are due. provisional: explanations of wrong ones are due. final: nothing can"
            " change.",
            **_REPORT_IDENTITY,
            "wrong": "Explanations of predictions whose label says otherwise.",
            "base": "Explanations of predictions drawn from all, for comparison.",
            "features": "Those with the largest attributions, by falling mean_absolute in the base sample.",
            "features_left_out": "How many more there are.",
            "compared_with": "The earlier window that drift is told against; null if there is none.",
            "metrics": "Figures by name; an undefined one has null as value.",
            "undefined": "Why a metric has no value.",
            **_REPORT_END,
        },
        "AttributionSample": {
            "explained": "Explanations that are weighed.",
            "failed": "Predictions of the sample for which there is none.",
            "stands_for": "How many predictions they stand for: the sum of one over the rates.",
            "effective": "How many evenly drawn ones would tell as much; null without any.",
            "stability": "Weighted mean of the explanations' stability; null where they tell none.",
        },
        "FeatureAttribution": {
            "feature": "Its name.",
            "wrong": "In the wrong sample; null if that is empty.",
            "base": "In the base sample; null if that is empty.",
            "difference": "Wrong less base; null if one of them is empty.",
        },
        "FeatureShare": {
            "mean": "Weighted mean of the signed attribution: above 0 it speaks for what was answered.",
            "mean_absolute": "Weighted mean of its size.",
            "standard_error": "Of mean_absolute, for the drawing of predictions; null with fewer than two.",
            "named": "Weighted share of the explanations that name the feature; in the others it counts as 0.",
        },
        "FeatureDifference": {
            "mean": "Of the signed attributions.",
            "mean_absolute": "Of their sizes.",
        },
        "Interval": {
            "value": "The difference.",
            "low": "Lower end of Welch's interval, for one feature by itself; null with fewer than two in a sample.",
            "high": "Upper end of it.",
        },
        "Explanation": {
            "request_id": "Of the prediction; also the record's key.",
            "instance": _INSTANCE,
            "model": "Of the prediction.",
            "model_version": "Of the prediction, empty if it names none.",
            "event_time": "Of the prediction, RFC 3339 in UTC; null if it could not be read.",
            "source": "Where the prediction stands.",
            "reason": "Why it was chosen.",
            "rate": "The share of its like that was asked about.",
            "predicted": "Its class; null for a number.",
            "label": "What was true, where that is known.",
            "failure": "Why there is no explanation; null if there is one.",
            "segment": "Of the prediction, the names that the model declares; absent if it could not be read.",
            "method": "How it was made.",
            "explained_class": "The class whose probability is explained, the predicted one; null for a regression.",
            "answer": "What the model answers for it, asked again.",
            "outputs": "All that the model answers, by class; left out beyond 50 classes.",
            "answered_version": "Which version answered; null if the predictor does not say.",
            "attributions": "By falling size of their weight.",
            "fit": "The local model and how far to trust it.",
            "imputed": "Values that stood in for missing ones, by feature; absent if none was missing.",
            "inputs": "Features as they came, as far as the configuration lets them out.",
            "notes": "What to know before reading on.",
            "cost": "What it took. No part of the content that event_id names.",
            "event_id": "Equal for equal content, timings aside.",
            "produced_at": "When it was made.",
        },
        "Source": {
            "topic": "Name on the wire.",
            "partition": "Number.",
            "offset": "Of the record.",
        },
        "Failure": {
            "reason": "Of a closed list.",
            "message": "For people: the value, the limit and the remedy.",
        },
        "Attribution": {
            "feature": "Its name, for text the word, for an image the number of the super-pixel.",
            "value": "As the model got it; null if it was missing or may not be told.",
            "rule": "What the weight is about, such as 25 < amount ≤ 50.",
            "weight": "Signed share in the answer for the explained class.",
            "standard_error": "Of the weight, for the drawing of the neighbours; null for texts, images and SHAP.",
            "span": "For text: first character and the one after the last.",
            "box": "For an image: left, top, right, bottom in pixels.",
        },
        "Fit": {
            "intercept": "Of the local model.",
            "local_prediction": "What the local model says here, beside what the model answers.",
            "r2": "Share of the answers' variance near here that the local model tells; null if they are all one.",
            "stability": "Share of these features that other neighbours would name; null for texts, images and SHAP.",
            "samples": "Neighbours.",
            "seed": "They were drawn with it.",
            "pool_id": "Explanations with the same share their neighbours, and so their sampling error.",
        },
        "Cost": {
            "total_ms": "Milliseconds of this explanation.",
            "model_ms": "How many of them were the model.",
            "pool_ms": "What drawing and asking about the neighbours took; 0 where they were there already.",
        },
    }
)
"""By struct and field."""
