"""What providers send is read as leniently as their clients read it."""

import json
import math
from typing import Any

import orjson
import pytest

from serving.models.provider_json import (
    read_for_clients,
    read_provider_json,
    write_provider_json,
)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'"\\ud83d"', "\ud83d"),
        (b"[-Infinity]", [-math.inf]),
        (b"18446744073709551616", 2.0**64),
        (b'"a\tb"', "a\tb"),
        (b'\xef\xbb\xbf"a"', "a"),
    ],
)
def test_read__what_a_lenient_client_reads__is_read_and_can_be_written(
    raw: bytes, value: Any
) -> None:
    assert read_provider_json(raw) == value
    if value != [-math.inf]:  # strict readers could not read it again
        assert read_provider_json(write_provider_json(value)) == value
    else:
        assert write_provider_json(value) == b"[null]"


@pytest.mark.parametrize(
    ("raw", "readable"),
    [
        (b'{"a":  1}', b'{"a":  1}'),
        (b'["\\ud83d", NaN, [-Infinity]]', b'["\\ud83d", null, [null]]'),
        (b'\xef\xbb\xbf{"a": "b\tc"}', b'{"a":"b\\tc"}'),
    ],
)
def test_read_for_clients__whatever_it_was__strict_clients_read_it(
    raw: bytes, readable: bytes
) -> None:
    value, bytes_for_all = read_for_clients(raw)
    assert json.loads(bytes_for_all) == json.loads(readable)
    assert bytes_for_all == raw if raw == readable else bytes_for_all != raw
    assert value is not None
    if b"ud83d" not in raw:  # half a pair is JSON, though not every reader takes it
        orjson.loads(bytes_for_all)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"{not json", b"[" * 100_000, b"[DONE]", b'"a\xe2\x82"']
)
def test_read__no_json__is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        read_provider_json(raw)
