"""Documents and queries: the same ones for the same seed, with words as unevenly spread as in a language.

The words are made of syllables, and the r-th of them is used 1/r as often as the first (Zipf's law), so that a query
meets both words that are everywhere and words that are nowhere. Invariant: document n is made from n alone.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from functools import lru_cache

WORDS = 30_000
TEXT_WORDS, TITLE_WORDS = 60, 6
TYPES, TAGS, CREATORS = ("article", "note", "report", "story"), 40, 50
# The ranks between which a query's words lie. The very first are a language's "the" and "of".
COMMONEST, RAREST = 20, 5_000
LINES_A_REQUEST = 1_000
_SYLLABLES = [consonant + vowel for consonant in "bdfghklmnprstvwz" for vowel in "aeiou"]


@lru_cache(maxsize=1)
def words() -> list[str]:
    """Two to four syllables each; short ones are common."""
    every = itertools.chain.from_iterable(itertools.product(_SYLLABLES, repeat=length) for length in (2, 3))
    dealt = ["".join(parts) for parts in itertools.islice(every, 4 * WORDS)]
    random.Random(0).shuffle(dealt)
    return sorted(dealt[:WORDS], key=len)


@lru_cache(maxsize=1)
def _shares() -> list[float]:
    return list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))


def document(number: int) -> dict[str, object]:
    dice = random.Random(number)
    drawn = dice.choices(words(), cum_weights=_shares(), k=TITLE_WORDS + TEXT_WORDS)
    # A minute after the other, in twelve months of 28 days.
    minutes, days = number % 1440, number // 1440
    date = f"2025-{1 + days // 28 % 12:02}-{1 + days % 28:02}T{minutes // 60:02}:{minutes % 60:02}:00Z"
    return {
        "id": f"document-{number}",
        "type": dice.choice(TYPES),
        "title": " ".join(drawn[:TITLE_WORDS]).capitalize(),
        "text": " ".join(drawn[TITLE_WORDS:]).capitalize() + ".",
        "created_at": date,
        "tags": [f"tag-{dice.randrange(TAGS)}"],
        "creator": f"creator-{dice.randrange(CREATORS)}",
        "has_audio": dice.random() < 0.1,
    }


def batches(count: int) -> Iterator[list[dict[str, object]]]:
    """All documents, as many at a time as a request may hold."""
    for first in range(0, count, LINES_A_REQUEST):
        yield [document(number) for number in range(first, min(count, first + LINES_A_REQUEST))]


def ndjson(lines: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def queries(count: int, seed: int) -> list[tuple[str, str]]:
    """Two words each, their ranks spread evenly over the orders of magnitude."""
    dice = random.Random(seed)
    spread = (math.log(COMMONEST), math.log(RAREST))

    def word() -> str:
        return words()[int(math.exp(dice.uniform(*spread)))]

    return [(word(), word()) for _ in range(count)]
