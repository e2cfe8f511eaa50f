"""Paths of calls: our matcher and an API's server must read them alike."""

import pytest

from market.resale.call_paths import PathRefused, parse_template, split_path
from market.resale.call_wishes import write_target


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b", "/a/./b", "/a//b", "/a/", "/", "/a;b", "/a/%2e%2e/b", "/a/%2E%2e", "/a%2fb",
        "/a%5cb", "/a\\b", "/a%3bb", "/a/%252e%252e", "/a/%", "/a/%zz", "/a/%00", "/a/%0d%0a",
        "/a/%7f", "/a/%c0%ae", "/a/%ff", "/a/%ef%bc%8e%ef%bc%8e", "/a/%ef%bc%8fb", "/a/ b",
        "/a/\u00e9", "a/b", "/a/%e2%80%ae", "/a/%2e", "/a/...", "/" + "a/" * 40 + "b",
    ],
)  # fmt: skip
def test_split_path__ambiguous__is_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        split_path(path)


def test_split_path__plain_and_encoded__is_decoded_once_and_written_one_way() -> None:
    template = parse_template("/v1/{city}/{word}/{other}")

    segments = split_path("/v1/caf%C3%A9/%61%20b/x:y@z")
    found = template.match(segments)

    assert segments == ("v1", "caf\u00e9", "a b", "x:y@z")
    assert found is not None
    written = write_target(template, found.__getitem__)
    assert written == "/v1/caf%C3%A9/a%20b/x%3Ay%40z"
    assert split_path(written) == segments


def test_template__literal_and_parameter__match_whole_segments_only() -> None:
    template = parse_template("/v1/wallets/{address}/tokens")

    assert template.match(split_path("/v1/wallets/0xab/tokens")) == {"address": "0xab"}
    assert template.match(split_path("/v1/wallets/0xab")) is None
    assert template.match(split_path("/V1/wallets/0xab/tokens")) is None
    assert template.match(split_path("/v1/wallets/0xab/tokens/more")) is None


@pytest.mark.parametrize(
    "text", ["", "v1", "/a//b", "/a/{b}c", "/{a}/{a}", "/a/{}", "/a/..", "/a?b", "/a#b", "/a/%41"]
)
def test_template__not_whole_segments__is_refused(text: str) -> None:
    with pytest.raises(PathRefused):
        parse_template(text)
