"""Where a sealed key may go without being given again: where it goes already, and nowhere else."""

import pytest

from market.endpoints.places import is_same_place
from market.listing.offers import parse_change
from serving.http.errors import RequestRejected

STORED = "https://api.provider.example/v1"


@pytest.mark.parametrize(
    "wanted",
    [
        "https://api.provider.example/v1",
        "https://api.provider.example/v1/",
        "HTTPS://API.Provider.EXAMPLE/v1",
        "https://api.provider.example:443/v1",
    ],
)
def test_place__another_spelling_of_the_same__is_the_same(wanted: str) -> None:
    assert is_same_place(STORED, wanted)
    assert is_same_place(wanted, STORED)


@pytest.mark.parametrize(
    "wanted",
    [
        "http://api.provider.example/v1",
        "https://evil.example/v1",
        "https://api.provider.example.evil.example/v1",
        "https://evil.api.provider.example/v1",
        "https://provider.example/v1",
        "https://api.provider.example./v1",
        "https://api.provider.example:8443/v1",
        "https://api.provider.example:80/v1",
        "https://api.provider.example:444443/v1",
        "https://api.provider.example:/v1/x",
        "https://api.provider.example/v1/collect",
        "https://api.provider.example/v1x",
        "https://api.provider.example/V1",
        "https://api.provider.example/",
        "https://api.provider.example",
        "https://api.provider.example//v1",
        "https://api.provider.example/v1/.",
        "https://api.provider.example/v1/../v1",
        "https://api.provider.example/%761",
        "https://api.provider.example/v1;x",
        "https://api.provider.example/v1?x=1",
        "https://api.provider.example/v1?",
        "https://api.provider.example/v1#x",
        "https://user@api.provider.example/v1",
        "https://user:password@api.provider.example/v1",
        "https://@api.provider.example/v1",
        "https://api.provider.example@evil.example/v1",
        "https://evil.example\\@api.provider.example/v1",
        "https://[::1]/v1",
        "https://[api.provider.example/v1",
        "https:api.provider.example/v1",
        "//api.provider.example/v1",
        "",
    ],
)
def test_place__another__is_never_the_same(wanted: str) -> None:
    assert not is_same_place(STORED, wanted)
    assert not is_same_place(wanted, STORED)


@pytest.mark.parametrize("url", ["https://u@a.example/v1", "https://[x/v1", "", "https:///v1"])
def test_place__that_is_none__is_not_even_the_same_as_itself(url: str) -> None:
    assert not is_same_place(url, url)


def change(**body: str) -> dict[str, object]:
    stored = {"unit": None, "cost_multiplier_ppm": None, "seller_base_url": STORED}
    wish = parse_change(body, stored, allow_loopback=False)
    return {**wish.columns, "api_key": wish.api_key}


def test_change__new_place_without_the_key__refused_with_it_taken() -> None:
    with pytest.raises(RequestRejected) as refused:
        change(seller_base_url="https://evil.example/v1")
    assert (refused.value.status, refused.value.param) == (400, "api_key")

    changed = change(seller_base_url="https://evil.example/v1", api_key="sk-new")
    assert changed == {"seller_base_url": "https://evil.example/v1", "api_key": "sk-new"}


def test_change__same_place_without_the_key__writes_no_address() -> None:
    # Between reading and writing the stored address may change: only a key brings one along.
    assert change(seller_base_url=STORED + "/") == {"api_key": None}
