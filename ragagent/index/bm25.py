"""BM25 in four forms by name, over one collection's live statistics.

With N chunks, df of them with the term, its frequency tf in one of them, and spread = 1 - b + b * length / average, a
chunk's score is the sum over the terms of the question that it has (as often as the question has them) of idf * share:

| name | idf | share |
|---|---|---|
| lucene | ln(1 + (N - df + 0.5) / (df + 0.5)) | tf / (tf + k1 * spread) |
| okapi | ln(N - df + 0.5) - ln(df + 0.5) | tf * (k1 + 1) / (tf + k1 * spread) |
| plus | ln(N + 1) - ln(df) | 1 + tf * (k1 + 1) / (tf + k1 * spread) |
| l | ln(N + 1) - ln(df + 0.5) | (k1 + 1) * (c + 0.5) / (k1 + c + 0.5), c = tf / spread |

Sources: the Lucene form is in Kamphuis, de Vries, Boytsov and Lin, "Which BM25 do you mean?", ECIR 2020. The others are
as rank-bm25 computes them: Okapi with a quarter of the average idf where an idf is negative; BM25+ after Lv and Zhai,
"Lower-bounding term frequency normalization", CIKM 2011; BM25L after Lv and Zhai, "When documents are very long, BM25
fails!", SIGIR 2011. Where rank-bm25 leaves these papers we do not follow it: its BM25+ gives every chunk without a term
what the form gives for tf = 0, a constant which changes no ranking, and its BM25L multiplies by tf once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.settings import RetrievalSettings

FORMS = ("lucene", "okapi", "plus", "l")

OKAPI_FLOOR = 0.25
"""The part of the average idf that a term of a negative idf gets in the Okapi form."""
DELTA_PLUS = 1.0
DELTA_L = 0.5

_ROUNDED_UP = 1 + 1e-6
"""More than what is lost by rounding to float32."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Formula:
    """One form with its parameters, for `chunks` live chunks of `average` length."""

    form: str
    k1: float
    b: float
    title_weight: float
    chunks: int
    average: float

    @classmethod
    def of(cls, settings: RetrievalSettings, chunks: int, average: float) -> Formula:
        """The formula that the settings name."""
        return cls(settings.bm25, settings.k1, settings.b, settings.title_weight, chunks, average)

    def idf(self, frequency: int) -> float:
        """The idf of a term that `frequency` chunks have, at least one; may be negative in the Okapi form."""
        if self.form == "lucene":
            return math.log(1 + (self.chunks - frequency + 0.5) / (frequency + 0.5))
        if self.form == "okapi":
            return math.log(self.chunks - frequency + 0.5) - math.log(frequency + 0.5)
        return math.log(self.chunks + 1) - math.log(frequency + (0.5 if self.form == "l" else 0.0))

    def shares(self, frequencies: Floats, lengths: npt.NDArray[np.uint32]) -> Floats:
        """The share of each of n postings: `frequencies` float64[n] weighted, `lengths` uint32[n, 2] by field."""
        return self._shares(frequencies, self.weighted(lengths))

    def _shares(self, frequencies: Floats, lengths: Floats) -> Floats:
        spread = 1 - self.b + self.b * lengths / self.average
        if self.form == "l":
            relative = frequencies / spread + DELTA_L
            return np.asarray((self.k1 + 1) * relative / (self.k1 + relative))
        top = frequencies if self.form == "lucene" else frequencies * (self.k1 + 1)
        shares = top / (frequencies + self.k1 * spread)
        return np.asarray(shares + DELTA_PLUS if self.form == "plus" else shares)

    def most_shares(self, frequencies: int, shortest: Floats) -> npt.NDArray[np.float32]:
        """float32[frequencies, n]: at [f, i] no less than the share of a term that is f times in a chunk as long as
        `shortest[i]` or longer; the last row is for that many times or more. Always above 0.
        """
        times = np.arange(frequencies, dtype=np.float64)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.nan_to_num(self._shares(times, shortest[None, :]), nan=self.most, posinf=self.most)
        shares[-1] = self.most
        return np.asarray(np.maximum(shares, 1e-6) * _ROUNDED_UP, np.float32)

    def weighted(self, lengths: npt.NDArray[Any]) -> Floats:
        """The lengths that count: a word of the title or the headings counts `title_weight` words."""
        return np.asarray(lengths[:, 1] + self.title_weight * lengths[:, 0])

    @property
    def most(self) -> float:
        """No share is more, whatever the frequency and the length; infinite where b is no share itself."""
        if self.b > 1:
            return math.inf
        return {"lucene": 1.0, "okapi": self.k1 + 1, "plus": self.k1 + 1 + DELTA_PLUS, "l": self.k1 + 1}[self.form]
