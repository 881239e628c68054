"""Latency percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Percentiles of wall times in seconds; each is a measured time, without interpolation."""

    p50_s: float
    p95_s: float
    p99_s: float


def latency(times_s: Sequence[float]) -> Latency:
    """Return the percentiles of one or more times.

    >>> latency([0.2, 0.1, 0.4, 0.3])
    Latency(p50_s=0.2, p95_s=0.4, p99_s=0.4)
    """
    quantiles = np.quantile(times_s, (0.5, 0.95, 0.99), method="inverted_cdf")
    return Latency(*(round(float(value), 5) for value in quantiles))
