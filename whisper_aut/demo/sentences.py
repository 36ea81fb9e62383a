"""Sentences to speak: a template grammar read as a mixed-radix number, so that no two clips say the same.

The n-th sentence of a template picks its words by the digits of an affine permutation of n: different n give
different words until every combination is used up, and a clip needs to know nothing of the others.
"""

from __future__ import annotations

import math

import numpy as np

_PEOPLE = (
    *("my neighbour", "the teacher", "our doctor", "the old captain", "her brother", "the young farmer", "a tourist"),
    *("the baker", "his grandmother", "the driver", "a student", "the nurse", "the gardener", "my cousin", "the clerk"),
    *("the painter", "an engineer", "the fisherman", "the postman", "a musician"),
)
_PAST = (
    *("found", "sold", "carried", "repaired", "painted", "forgot", "borrowed", "described", "cleaned", "opened"),
    *("lost", "photographed", "bought", "moved", "hid", "wanted"),
)
_THINGS = (
    *("a wooden chair", "the blue bicycle", "an umbrella", "two heavy boxes", "the kitchen clock", "a silver ring"),
    *("some fresh bread", "the broken window", "a basket of apples", "an old map", "the garden gate", "a warm coat"),
    *("three empty bottles", "the yellow lamp", "a letter from home", "the radio", "a pair of boots", "the violin"),
    *("a cup of coffee", "the small boat"),
)
_PLACES = (
    *("at the station", "near the river", "in the market", "behind the church", "on the hill", "by the harbour"),
    *("in the library", "under the bridge", "across the street", "at the airport", "in the cellar", "on the farm"),
    *("next to the school", "in the forest", "at the corner", "outside the hotel"),
)
_TIMES = (
    *("this morning", "last night", "on Monday", "in the spring", "before lunch", "after the storm", "yesterday"),
    *("two weeks ago", "on Friday evening", "at noon", "in December", "during the holidays", "at half past seven"),
)
_ADJECTIVES = (
    *("quiet", "expensive", "difficult", "beautiful", "crowded", "dangerous", "simple", "famous", "strange", "cheap"),
    *("empty", "friendly", "useful", "noisy"),
)
_TOPICS = (
    *("the weather", "this city", "the new road", "his story", "the final answer", "the museum", "our journey"),
    *("the village", "that question", "the concert", "the restaurant", "her garden", "the project", "the water"),
)
_NUMBERS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fifteen", "twenty", "thirty", "forty", "fifty", "sixty", "ninety"),
)
_UNITS = ("minutes", "dollars", "miles", "people", "pages", "days", "tickets", "degrees", "houses", "bottles")
_REQUESTS = (
    *("bring", "send me", "look for", "keep", "count", "put away", "take care of", "write about", "pay for", "ask for"),
)

# Slots are tuples of words; plain strings stand as they are. No template can give another's sentence.
_TEMPLATES: tuple[tuple[str | tuple[str, ...], ...], ...] = (
    (_PEOPLE, " ", _PAST, " ", _THINGS, " ", _PLACES, "."),
    (_TIMES, ", ", _PEOPLE, " ", _PAST, " ", _THINGS, "."),
    ("Please ", _REQUESTS, " ", _THINGS, " ", _PLACES, "."),
    (_TOPICS, " was more ", _ADJECTIVES, " than ", _PEOPLE, " expected."),
    ("Why is ", _TOPICS, " so ", _ADJECTIVES, " ", _TIMES, "?"),
    ("There are ", _NUMBERS, " ", _UNITS, " ", _PLACES, "."),
    ("I heard that ", _PEOPLE, " ", _PAST, " ", _THINGS, "."),
    ("Did ", _PEOPLE, " talk about ", _TOPICS, " ", _PLACES, "?"),
    ("It takes ", _NUMBERS, " ", _UNITS, " to reach ", _PEOPLE, " ", _PLACES, "."),
    (_NUMBERS, " plus ", _NUMBERS, " is not ", _NUMBERS, "."),
    (_TOPICS, " was ", _ADJECTIVES, " ", _TIMES, "."),
    ("Meet ", _PEOPLE, " ", _PLACES, " and bring ", _THINGS, "."),
)


def _size(template: tuple[str | tuple[str, ...], ...]) -> int:
    return math.prod(len(part) for part in template if isinstance(part, tuple))


NUM_SENTENCES = min(map(_size, _TEMPLATES)) * len(_TEMPLATES)
"""Sentences before the first could come again: 30 576."""


def sentence(index: int, seed: int) -> str:
    """The sentence of clip ``index``; different for every index in 0..NUM_SENTENCES-1 under one seed."""
    nth, chosen = divmod(index, len(_TEMPLATES))
    template = _TEMPLATES[chosen]
    size = _size(template)
    rng = np.random.default_rng([seed, chosen])
    step = int(rng.integers(1, size))
    while math.gcd(step, size) != 1:
        step += 1
    rest = (nth * step + int(rng.integers(size))) % size
    words = []
    for part in template:
        if isinstance(part, tuple):
            rest, digit = divmod(rest, len(part))
            words.append(part[digit])
        else:
            words.append(part)
    text = "".join(words)
    return text[0].upper() + text[1:]
