"""Offers of simulated models, for the lab's tests: honest ones, swaps, mixtures, turncoats.

A model has one distribution of answers for each template. A *rival* answers as often in its usual
way and agrees with the model's usual answer on some templates only: what two models of one family
do on prompts where they part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from market.evidence.two_samples import AnswerBlock, Comparison
from market.evidence.verdicts import CONVICTS

TEMPLATES = 16
ANSWERS = 4
"""Of each side, by template and round."""
ROUNDS = 2
"""Of a probe."""

Model = Sequence[tuple[Sequence[str], Sequence[float]]]


@dataclass(frozen=True)
class Models:
    """A model and its rival."""

    model: Model
    rival: Model


def make_models(random: Random, *, usual: float, agreement: float, words: int = 8) -> Models:
    """Return two models: ``usual`` is how often each gives its usual answer of a template."""
    names = [f"w{number}" for number in range(words)]

    def spread(best: int) -> list[float]:
        weights = [0.0 if place == best else random.random() ** 2 for place in range(words)]
        scale = (1 - usual) / sum(weights)
        return [usual if place == best else weight * scale for place, weight in enumerate(weights)]

    model, rival = [], []
    for _ in range(TEMPLATES):
        best = random.randrange(words)
        others = [place for place in range(words) if place != best]
        model.append((names, spread(best)))
        rivals_best = best if random.random() < agreement else random.choice(others)
        rival.append((names, spread(rivals_best)))
    return Models(model, rival)


def probe(
    random: Random, models: Models, comparison: Comparison, *, share: Callable[[], float]
) -> None:
    """Probe an offer once, which serves ``share()`` of its answers by the rival."""
    for _ in range(ROUNDS):
        blocks = []
        for place, (names, chances) in enumerate(models.model):
            answers = []
            for _ in range(ANSWERS):
                is_rival = random.random() < share()
                drawn = models.rival[place] if is_rival else (names, chances)
                answers.append(random.choices(*drawn)[0])
            reference = random.choices(names, chances, k=ANSWERS)
            blocks.append(AnswerBlock(f"t{place}", tuple(answers), tuple(reference)))
        comparison.observe(blocks)


def count_probes(
    random: Random, models: Models, *, share: float, limit: int, honest_before: int = 0
) -> int | None:
    """Return how many probes convict an offer by one method, None where ``limit`` do not.

    ``honest_before``: probes that it serves honestly before it turns.
    """
    comparison = Comparison()
    for _ in range(honest_before):
        probe(random, models, comparison, share=lambda: 0.0)
    for number in range(1, limit + 1):
        probe(random, models, comparison, share=lambda: share)
        if comparison.wealth.peak >= CONVICTS:
            return number
    return None
