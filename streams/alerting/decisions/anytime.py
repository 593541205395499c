"""Evidence that a share is beyond a limit, which may be looked at after every label without being fooled by chance.

Under the limit, or on its good side, the evidence is a supermartingale that starts at 1: whatever the number of looks,
it ever reaches 1/e with a chance of at most e (Ville). It is the mixture of the likelihood ratios of all shares on the
bad side, weighted by a beta distribution about the limit that is cut off there.

Source: J. Ville (1939); mixtures as in H. Robbins, Annals of Mathematical Statistics 41 (1970), and S. Howard et al.,
Annals of Statistics 49 (2021).
"""

from __future__ import annotations

import math

from streams.alerting.decisions.exact import log_beta, log_beta_share

__all__ = ["log_evidence"]

STRENGTH = 100.0
"""Labels that the mixture is worth: it then weighs differences of a few points most, which is what windows of some
hundred to some thousand labels can show. Any positive number is as honest."""


def log_evidence(successes: int, n: int, *, share: float, is_below: bool) -> float:
    """Return the logarithm of the evidence that the true share is below `share`, or above it.

    >>> log_evidence(0, 0, share=0.9, is_below=True)
    0.0
    >>> round(log_evidence(430, 500, share=0.9, is_below=True), 3)
    3.123
    """
    if not is_below:
        return log_evidence(n - successes, n, share=1.0 - share, is_below=True)
    if share <= 0.0:
        return -math.inf if n else 0.0
    failures = n - successes
    if share >= 1.0:
        return math.inf if failures else 0.0
    a, b = STRENGTH * share, STRENGTH * (1.0 - share)
    return (
        (log_beta(a + successes, b + failures) + log_beta_share(share, a + successes, b + failures))
        - (log_beta(a, b) + log_beta_share(share, a, b))
        - successes * math.log(share)
        - failures * math.log1p(-share)
    )
