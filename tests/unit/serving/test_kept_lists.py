"""Lists that everybody may ask for."""

import json

from pydantic import BaseModel

from serving.http.kept_lists import KeptLists


class Numbered(BaseModel):
    number: int


class Counter:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.made = 0
        self.lists = KeptLists(clock=lambda: self.now_s)

    def ask(self, count: int, name: str = "models") -> int:
        def build() -> Numbered:
            self.made += 1
            return Numbered(number=self.made)

        return int(json.loads(bytes(self.lists.answer(name, count, build).body))["number"])


def test_answer__long_list__is_made_once_a_second_for_all() -> None:
    counter = Counter()
    assert [counter.ask(1_000) for _ in range(50)] == [1] * 50
    counter.now_s = 0.99
    assert counter.ask(1_000) == 1
    counter.now_s = 1.0
    assert counter.ask(1_000) == 2
    assert counter.ask(1_000, "prices") == 3


def test_answer__short_list__is_what_is_so_now() -> None:
    counter = Counter()
    assert [counter.ask(3) for _ in range(3)] == [1, 2, 3]
