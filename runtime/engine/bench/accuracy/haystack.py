"""Prompts of long prose with facts strewn in, and questions about them, after the tasks of RULER.

Every answer is one token, so that a question is scored by ranking candidates: those of its kind that stand in the
same prompt. A model of 135M parameters writes little of use after 8,192 tokens, but it ranks.
    needle        one word said once                                   against words that the prompt has not
    multi-key     one of 16 keys, each with its word                   against the words of the other keys
    multi-value   three words said of one person, in different places  against the words of the other persons
    variables     what a name stands for, that other names refer to    against what the other names stand for
    common words  the other words that lists hold most, after one      against words that they hold less
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

Encode = Callable[[str], list[int]]

TASKS = ("needle", "multi-key", "multi-value", "variables", "common words")

_OWNERS = ("harbour master", "old librarian", "night watchman", "chief gardener")
_CITIES = (
    "Lisbon",
    "Madrid",
    "Paris",
    "Vienna",
    "Prague",
    "Warsaw",
    "Athens",
    "Dublin",
    "Oslo",
    "Helsinki",
    "Cairo",
    "Nairobi",
    "Lima",
    "Bogota",
    "Tokyo",
    "Seoul",
)
_PEOPLE = ("Professor Lindqvist", "Captain Okonkwo", "Doctor Yamamoto", "Inspector Ferrari")
_NAMES = ("ALPHA", "BRAVO", "DELTA", "OMEGA", "KAPPA", "SIGMA", "THETA", "GAMMA")
_WORDS = Path(__file__).with_name("words.txt")


@dataclass(frozen=True, slots=True)
class Question:
    """What follows the context; `right` of the `candidates` (token ids) are to rank before the others."""

    task: str
    tokens: tuple[int, ...]
    candidates: tuple[int, ...]
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class Haystack:
    """A context and the questions about it."""

    tokens: tuple[int, ...]
    questions: tuple[Question, ...]


def haystack(tokens: int, seed: int, encode: Encode) -> Haystack:
    """A context of exactly `tokens` tokens; the same for the same seed."""
    draw = random.Random(seed)
    single = {word: ids[0] for word in _WORDS.read_text("utf-8").split() if len(ids := encode(" " + word)) == 1}
    plant = _Planting(draw, draw.sample(sorted(single), len(single)), single, encode)
    plant.needles()
    plant.keys()
    plant.values()
    plant.variables()
    plant.lists()
    return Haystack(_mix(tokens, plant.facts, draw, encode), tuple(plant.questions))


class _Planting:
    def __init__(self, draw: random.Random, words: list[str], ids: dict[str, int], encode: Encode) -> None:
        self._draw = draw
        self._words = words
        self._ids = ids
        self._encode = encode
        self.facts: list[list[str]] = []
        """Sentences; those of one inner list stay in order."""
        self.questions: list[Question] = []

    def needles(self) -> None:
        absent = self._take(12)
        for owner, word in zip(_OWNERS, self._take(len(_OWNERS)), strict=True):
            self.facts.append([f"The secret word of the {owner} is {word}."])
            self._ask("needle", f"The secret word of the {owner} is", [word], absent)

    def keys(self) -> None:
        words = self._take(len(_CITIES))
        for city, word in zip(_CITIES, words, strict=True):
            self.facts.append([f"The special word for {city} is {word}."])
            self._ask("multi-key", f"The special word for {city} is", [word], words)

    def values(self) -> None:
        words = self._take(3 * len(_PEOPLE))
        for number, person in enumerate(_PEOPLE):
            mine = words[3 * number : 3 * number + 3]
            self.facts += [[f"{person} told us of the {word}."] for word in mine]
            self._ask("multi-value", f"{person} told us of the", mine, words)

    def variables(self) -> None:
        words = self._take(len(_NAMES))
        for name, word in zip(_NAMES, words, strict=True):
            self.facts.append([f"{name} stands for the {word}.", f"NEW {name} stands for {name}."])
            self._ask("variables", f"{name} stands for the", [word], words)

    def lists(self) -> None:
        words = self._take(16)
        often, seldom = words[:4], words[4:]
        for _ in range(8):
            line = [*often, *self._draw.sample(seldom, 3)]
            self._draw.shuffle(line)
            self.facts.append([f"List: {', '.join(line)}."])
        for word in often:
            rest = [other for other in often if other != word]
            self._ask("common words", f"List: {word},", rest, [other for other in words if other != word])

    def _take(self, count: int) -> list[str]:
        taken, self._words = self._words[:count], self._words[count:]
        assert len(taken) == count, "too few words of one token"
        return taken

    def _ask(self, task: str, beginning: str, right: Sequence[str], among: Sequence[str]) -> None:
        candidates = tuple(self._ids[word] for word in dict.fromkeys([*right, *among]))
        answer = frozenset(self._ids[word] for word in right)
        self.questions.append(Question(task, tuple(self._encode("\n\n" + beginning)), candidates, answer))


def _mix(tokens: int, facts: Sequence[Sequence[str]], draw: random.Random, encode: Encode) -> tuple[int, ...]:
    """Prose with the facts at random places, none in the last tenth."""
    planted = [[encode(f" {sentence}") for sentence in chain] for chain in facts]
    prose_tokens = tokens - sum(len(ids) for chain in planted for ids in chain)
    text = " ".join(topics.values())
    begin = draw.randrange(len(text) // 2)
    prose = encode(text[begin : begin + 8 * tokens])[:prose_tokens]
    if prose_tokens < 0 or len(prose) < prose_tokens:
        raise ValueError(f"a context of {tokens} tokens can't be made: the facts or the prose don't fit")
    places: list[tuple[int, list[int]]] = []
    for chain in planted:
        at = sorted(draw.randrange(prose_tokens * 9 // 10) for _ in chain)
        places += zip(at, chain, strict=True)
    mixed: list[int] = []
    done = 0
    for at, ids in sorted(places, key=lambda place: place[0]):
        mixed += [*prose[done:at], *ids]
        done = at
    return (*mixed, *prose[done:])
