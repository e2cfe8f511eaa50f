"""JSON that means one thing only, and reaches upstream with that meaning.

::

    a body that we would have written ourselves (the quick way), or any other
    ├── accepted exactly where a second reader, written after RFC 8259, accepts it
    ├── read as that reader reads it: 1 is no 1.0, and large integers are exact
    └── sent on: the same but for the model's name and the output limit
"""

import json
import math
from typing import Any, Final

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.chat.request import parse_request
from serving.http.errors import RequestRejected
from serving.http.strict_json import parse_and_write
from tests.support.examples import examples

LARGEST: Final = 2**64 - 1
SMALLEST: Final = -(2**63)
DEPTH_MAX: Final = 100
"""What is generated is not nested deeper than this; where too deep begins has a test of its own."""


class Refused(ValueError):
    """The second reader refuses."""


def read_integer(digits: str) -> int:
    if len(digits) > 40 or not SMALLEST <= int(digits) <= LARGEST:
        raise Refused(digits)
    return int(digits)


def read_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Refused(digits)
    return value


def read_constant(name: str) -> None:
    raise Refused(name)


def read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise Refused("twice")
    return dict(pairs)


def read_again(raw: bytes) -> dict[str, Any]:
    """Read by the standard library alone. Raises ``ValueError``."""
    value = json.loads(
        raw.decode(),
        object_pairs_hook=read_pairs,
        parse_int=read_integer,
        parse_float=read_float,
        parse_constant=read_constant,
    )
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates are no text
    if not isinstance(value, dict):
        raise Refused("no object")
    return value


def describe(value: Any) -> Any:
    """Return the value so that 1, 1.0, True and -0.0 are four different things."""
    match value:
        case dict():
            return {name: describe(item) for name, item in value.items()}
        case list():
            return [describe(item) for item in value]
        case _:
            return (type(value).__name__, repr(value))


INTEGERS: Final = st.one_of(
    st.integers(-20, 20),
    st.integers(SMALLEST - 2, LARGEST + 2),
    st.sampled_from([0, LARGEST, LARGEST + 1, SMALLEST, SMALLEST - 1, 10**30]),
)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS: Final = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)

# Texts that are nearly JSON: what two writers make, and what no writer should.
TOKENS: Final = st.sampled_from(
    [
        *'{}[]:,"',
        *(
            "1",
            "-1",
            "-0",
            "-0.0",
            "1.0",
            "1e-7",
            "1E5",
            "1e5",
            "1e400",
            "5e-324",
            "01",
            "1.",
            ".5",
        ),
        *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "0.1"),
        *("true", "false", "null", "NaN", "Infinity", "-Infinity", "nul"),
        *('"a"', '"b"', '"a"', r'"\u0061"', r'"\ud83d\ude00"', r'"\ud800"', r'"\/"', r'"\x"'),
        *(" ", "\n", "\t", "\x00", "\ufeff", '"é"', '"\x7f"', '"\t"', "//", "'a'"),
        *('"a":1', '"a":1.0,', '"b":[],', '{"a":{}}', "[[]]", '{"a":1,"a":1}'),
    ]
)


def write_variously(value: Any, how: int) -> str:
    if how == 0:
        return json.dumps(value)
    if how == 1:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, indent=1)


TEXTS: Final = st.one_of(
    st.builds(write_variously, OBJECTS, st.integers(0, 2)),
    st.lists(TOKENS, max_size=8).map("".join).map("{{{}}}".format),
    st.lists(TOKENS, max_size=8).map("".join),
)


def accepts_both(raw: bytes) -> None:
    """Hold our reading against the second reader's."""
    try:
        expected = read_again(raw)
    except ValueError:
        with pytest.raises(RequestRejected) as caught:
            parse_and_write(raw)
        assert caught.value.status == 400
        return
    body, written = parse_and_write(raw)
    assert describe(body) == describe(expected)
    assert describe(read_again(written)) == describe(expected)


@given(TEXTS)
@settings(max_examples=examples(400), deadline=None)
@example('{"a":1,"a":1}')
@example('{"a":{"b":1,"b":2}}')
@example('{"":1,"":1E5}')  # as long as what is left of it, written again
@example('{"a":18446744073709551615,"b":-9223372036854775808}')
@example('{"a":18446744073709551616}')
@example('{"a":1.8446744073709552e19}')
@example('{"a":1e-7,"b":1.0,"c":-0.0,"d":1E5,"e":5e-324}')
@example('{"a":1e400}')
@example('{"a":NaN}')
@example('{"a":Infinity}')
@example(r'{"a":"\ud800"}')
@example(r'{"\udc00":1}')
@example(r'{"a":"\ud83d\ude00\u0000\u00e9"}')
@example('\ufeff{"a":1}')
@example('{"a":1}\x00')
@example("[]")
@example('"a"')
@example("")
def test_parse__any_text__as_a_second_reader(text: str) -> None:
    accepts_both(text.encode("utf-8", "surrogatepass"))


@given(OBJECTS)
@settings(max_examples=examples(200), deadline=None)
def test_parse__as_we_write_it__as_a_second_reader(value: dict[str, Any]) -> None:
    try:
        raw = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return  # what cannot be written is not written
    accepts_both(raw)
    assert parse_and_write(raw)[1] == raw


@given(TEXTS, st.integers(0, 60), st.binary(max_size=2))
@settings(max_examples=examples(300), deadline=None)
def test_parse__a_byte_changed__as_a_second_reader(text: str, place: int, instead: bytes) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    accepts_both(raw[:place] + instead + raw[place + 1 :])


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_parse__nested__accepted_up_to_what_can_be_written(opening: str) -> None:
    closing = "}" if opening.startswith("{") else "]"

    def nest(depth: int) -> bytes:
        return f'{{"b":{opening * depth}1{closing * depth}}}'.encode()

    assert parse_and_write(nest(DEPTH_MAX))[1] == nest(DEPTH_MAX)
    for depth in (300, 1_000, 5_000, 200_000):
        with pytest.raises(RequestRejected) as caught:
            parse_and_write(nest(depth))
        assert caught.value.code == "invalid_json"


# ---------------------------------------------------------------------------------- sent on


MESSAGES: Final = [{"role": "user", "content": "é 😀 \u0000 \\ud800 </s>"}]
KNOWN: Final[dict[str, Any]] = {
    "temperature": 1.0,
    "top_p": 1e-7,
    "seed": 2**63,
    "n": 3,
    "stop": ["\n", "é"],
    "logprobs": True,
    "top_logprobs": 5,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_object"},
    "user": "u",
    "future": {"deep": [1.0, 1, -0.0, 10**18, LARGEST, SMALLEST, None, {"": []}]},
}


@given(
    extra=st.dictionaries(st.text(max_size=6).map("x-{}".format), VALUES, max_size=3),
    limits=st.dictionaries(
        st.sampled_from(["max_tokens", "max_completion_tokens"]),
        st.none() | st.integers(1, 9_000),
        max_size=2,
    ),
    stream=st.none() | st.booleans(),
    applied=st.none() | st.integers(1, 4_096),
    how=st.integers(0, 3),
)
@settings(max_examples=examples(300), deadline=None)
def test_build_body__anything__only_model_and_limit_differ(
    extra: dict[str, Any],
    limits: dict[str, int | None],
    stream: bool | None,
    applied: int | None,
    how: int,
) -> None:
    told = {"model": "m", "messages": MESSAGES, **KNOWN, **extra, **limits, "stream": stream}
    raw = (write_variously(told, how) if how < 3 else orjson_text(told)).encode()
    try:
        request = parse_request(raw)
    except RequestRejected:
        with pytest.raises(ValueError):
            read_again(raw)
        return
    asked = [limit for limit in limits.values() if limit is not None]
    # None: exactly what was asked for, where nothing needs to be changed.
    max_tokens = applied or min([*asked, 4_096])

    sent = read_again(request.call.build_body(model="m", max_tokens=max_tokens))

    expected = {**read_again(raw)}
    names = [name for name in limits if limits[name] is not None] or ["max_tokens"]
    expected |= dict.fromkeys(names, max_tokens)
    if stream:
        expected["stream_options"] = {"include_usage": True}
    assert describe(sent) == describe(expected)
    assert request.call.requested_max_tokens == min(asked, default=None)


def orjson_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value)  # an integer that it cannot write


def test_build_body__own_fields__are_not_sent_and_nothing_else_changes() -> None:
    told = {"model": "m", "messages": MESSAGES, **KNOWN, "max_tokens": 9}
    own = {"fit": True, "min_discount_pct": 5}
    request = parse_request(orjson.dumps({**own, **told}))
    assert request.call.build_body(model="m", max_tokens=9) == orjson.dumps(told)
    other = read_again(request.call.build_body(model="other", max_tokens=8))
    assert describe(other) == describe({**told, "model": "other", "max_tokens": 8})
