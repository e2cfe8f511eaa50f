"""What a seller is paid for whom the operator has not approved, and what counts against it."""

from typing import Any

import orjson
import pytest

from market.routing.ranking import Ask
from market.text.metering import count_answer
from serving.dialects.call import LimitRules, parse_call
from serving.dialects.endpoints import Endpoint
from serving.models.prices import Tokens

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CALL = parse_call(
    Endpoint.CHAT,
    orjson.dumps(BODY),
    LimitRules(default=1_000, cap=1_000),
    own_fields=frozenset(),
)
ASK = Ask("m", Tokens(24, 1_000), Tokens(200, 1_000))


@pytest.mark.parametrize(
    ("usage", "is_trusted", "paid", "is_cut"),
    [
        # The template of gpt-oss.
        ({"prompt_tokens": 72, "completion_tokens": 3}, False, Tokens(72, 3), False),
        ({"prompt_tokens": 131, "completion_tokens": 3}, False, Tokens(130, 3), False),
        ({"prompt_tokens": 201, "completion_tokens": 3}, False, Tokens(130, 3), True),
        ({"prompt_tokens": 201, "completion_tokens": 3}, True, Tokens(200, 3), True),
        # It reasons, and does not say so.
        ({"prompt_tokens": 72, "completion_tokens": 451}, False, Tokens(72, 66), False),
        ({"prompt_tokens": 72, "completion_tokens": 1_001}, False, Tokens(72, 66), True),
    ],
)
def test_count_answer__of_an_unapproved_seller__only_what_cannot_be_true_is_cut(
    usage: dict[str, Any], is_trusted: bool, paid: Tokens, is_cut: bool
) -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": "Hi"}}], "usage": usage}

    counted = count_answer(CALL, ASK, answer, is_trusted=is_trusted)

    assert (counted.tokens, counted.is_cut) == (paid, is_cut)
    assert counted.is_reported == (usage["prompt_tokens"] == 72 and paid.completion == 3)
