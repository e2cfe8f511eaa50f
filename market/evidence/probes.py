"""What a probe asks, and what its answers come to. Pure.

The questions are made of words by a secret, so that each market has its own and no seller can list
them. Each asks for one word. Two kinds: choose one of some words (at temperature 0: what a model
prefers is its own), and name any word of a kind (at temperature 1).

An answer is one category: its first word, in lower case. An answer without any word is one too.
"""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any, Final

from market.evidence.verdicts import Method

TEMPLATES: Final = 16
"""Of each method, by probe."""
ANSWERS: Final = 4
"""Of each side, by template and round."""
ROUNDS: Final = 2
MAX_TOKENS: Final = 8
CHOICES: Final = 5
_CATEGORY_MAX: Final = 24

_WORDS: Final = [
    "amber",
    "anchor",
    "apple",
    "arrow",
    "basket",
    "beacon",
    "birch",
    "bridge",
    "candle",
    "canyon",
    "cedar",
    "cloud",
    "copper",
    "coral",
    "cotton",
    "crystal",
    "desert",
    "dolphin",
    "dragon",
    "eagle",
    "ember",
    "falcon",
    "feather",
    "fern",
    "forest",
    "fox",
    "garden",
    "ginger",
    "glacier",
    "granite",
    "hammer",
    "harbor",
    "hazel",
    "honey",
    "island",
    "ivory",
    "jade",
    "jasmine",
    "jungle",
    "kettle",
    "lantern",
    "lemon",
    "lily",
    "lotus",
    "magnet",
    "maple",
    "marble",
    "meadow",
    "mirror",
    "moon",
    "mountain",
    "nectar",
    "oak",
    "ocean",
    "olive",
    "onyx",
    "orchid",
    "otter",
    "pearl",
    "pepper",
    "pine",
    "planet",
    "plum",
    "prairie",
    "quartz",
    "rain",
    "raven",
    "reef",
    "ribbon",
    "river",
    "robin",
    "rose",
    "saffron",
    "sail",
    "sand",
    "shadow",
    "silver",
    "sparrow",
    "spruce",
    "star",
    "stone",
    "summer",
    "swan",
    "thistle",
    "thunder",
    "tiger",
    "topaz",
    "tulip",
    "valley",
    "velvet",
    "violet",
    "walnut",
    "willow",
    "winter",
    "wolf",
]
_KINDS: Final = [
    "animal",
    "bird",
    "city",
    "colour",
    "country",
    "dessert",
    "drink",
    "fish",
    "flower",
    "fruit",
    "gemstone",
    "hobby",
    "insect",
    "instrument",
    "island",
    "language",
    "metal",
    "mountain",
    "planet",
    "profession",
    "river",
    "season",
    "spice",
    "sport",
    "tool",
    "tree",
    "vegetable",
    "vehicle",
    "virtue",
    "weather",
]
_CHOOSE: Final = (
    "Which of these words do you like best: {words}? Answer with one word.",
    "Choose one word and say only that word: {words}.",
    "Pick the word that fits a quiet morning: {words}. One word only.",
    "One of these is the title of a short story. Which? {words}. Reply with one word.",
)
_NAME: Final = (
    "Name any {kind}. Answer with one word.",
    "The first {kind} that comes to mind, one word only:",
    "Say one {kind} and nothing else.",
)
_FIRST_WORD: Final = re.compile(r"[^\W\d_][\w'-]*")


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt of a template."""

    template: str
    text: str
    temperature: float

    def build_body(self, model: str) -> dict[str, Any]:
        """Return the request that asks it, as any buyer would write it."""
        return {
            "model": model,
            "messages": [{"role": "user", "content": self.text}],
            "temperature": self.temperature,
            "max_tokens": MAX_TOKENS,
        }


def make_questions(
    secret: bytes, method: Method, random: Random, *, templates: int = TEMPLATES
) -> list[Question]:
    """Return one round's questions of a method: their templates by the secret, their wording by
    chance."""
    return [_make(secret, method, random, number) for number in range(templates)]


def _make(secret: bytes, method: Method, random: Random, number: int) -> Question:
    seed = hmac.digest(secret, f"probe {method} {number}".encode(), sha256)
    fixed = Random(seed)
    template = f"{method}-{seed.hex()[:12]}"
    if method is Method.FIRST_TOKEN:
        text = fixed.choice(_NAME).format(kind=fixed.choice(_KINDS))
        return Question(template, text, 1.0)
    assert method is Method.BORDER, f"{method} is not asked in questions"
    words = fixed.sample(_WORDS, CHOICES)
    form = fixed.choice(_CHOOSE)
    # In another order each time: a seller that keeps answers by their questions keeps few.
    random.shuffle(words)
    return Question(template, form.format(words=", ".join(words)), 0.0)


def find_category(text: str) -> str:
    """Return what an answer counts as."""
    found = _FIRST_WORD.search(text)
    return "" if found is None else found[0].lower()[:_CATEGORY_MAX]


def get_budget_usdc(*, sold_usdc: int, floor_usdc: int) -> int:
    """Return what an offer's probes of a month may cost: 1 % of its sales, and at least the floor.

    The floor is what an offer that has sold little is worth being tested for.
    """
    return max(sold_usdc // 100, floor_usdc)
