"""The fingerprint of an alert: one number from its labels, the same that Alertmanager computes.

It is the record's key on the alerts topic and what receivers tell alerts apart by, so it must not change with the order
in which labels are written.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["fingerprint"]

_OFFSET_BASIS = 14_695_981_039_346_656_037
_PRIME = 1_099_511_628_211
_MASK = 2**64 - 1
_SEPARATOR = b"\xff"
"""A byte that UTF-8 does not have, so that neighbours cannot run into each other."""


def fingerprint(labels: Mapping[str, str]) -> str:
    """FNV-1a of 64 bits over the labels in order of their names, each name and value closed by a byte 0xff.

    Args:
        labels: those of the alert. One without a value is no label to Alertmanager and does not count.

    Returns: 16 hexadecimal digits.

    Source: `LabelSet.Fingerprint` of github.com/prometheus/common.

    >>> fingerprint({}), fingerprint({"model": "fraud", "alertname": "Low"})
    ('cbf29ce484222325', 'a429116a0522bc71')
    """
    hashed = _OFFSET_BASIS
    for name in sorted(labels):
        if labels[name]:
            for byte in name.encode() + _SEPARATOR + labels[name].encode() + _SEPARATOR:
                hashed = (hashed ^ byte) * _PRIME & _MASK
    return f"{hashed:016x}"
