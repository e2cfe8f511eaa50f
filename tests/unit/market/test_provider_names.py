"""Whose endpoint it is, by its host; and how requests name sellers.

::

    a host of the table          the table's name, in whatever case, with a dot at the end
    any other host               its registrable name: no seller passes for another by a label,
                                 a look-alike, a prefix or a host that ends or begins like one
    a name with its prefix       means one kind of thing only
"""

from pathlib import Path

import pytest

from market.identity.name_table import NamesInvalid, load_name_table
from market.identity.provider_names import ProviderNames
from market.routing.chosen import parse_chosen
from market.routing.ranking import Ask, Drop, Offer, OfferState, assess
from serving.http.errors import RequestRejected
from serving.models.prices import Price, Tokens

NAMES = load_name_table().providers
OFFER_ID = "01a22ebf-cd73-7967-9a4f-c28e1c6ef67d"
SELLER, OTHER = "0x" + "ab" * 20, "0x" + "cd" * 20


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.OpenAI.com:443/v1", "openai"),
        ("https://api.openai.com./v1", "openai"),
        ("https://my-resource.openai.azure.com/openai/v1", "azure"),
        ("https://openai.azure.com/v1", "azure.com"),
        ("https://api.openai.com.evil.example/v1", "evil.example"),
        ("https://api-openai.com/v1", "api-openai.com"),
        ("https://openai.com/v1", "openai.com"),
        ("https://a.b.example.co.uk/v1", "example.co.uk"),
        ("https://xn--penai-6ve.com/v1", "xn--penai-6ve.com"),
        ("https://api.openai.com.trycloudflare.com/v1", "api.openai.com.trycloudflare.com"),
        ("https://x.trycloudflare.com/v1", "x.trycloudflare.com"),
        ("https://openai/v1", "openai."),
        ("http://127.0.0.1:8080/v1", "127.0.0.1"),
        ("https://[2606:4700::1111]/v1", "2606:4700::1111"),
    ],
)
def test_find_provider__by_the_host_alone(base_url: str, provider: str) -> None:
    assert NAMES.find_provider(base_url) == provider


def make_offer(base_url: str, **changes: str) -> Offer:
    values = {"offer_id": OFFER_ID, "seller": SELLER, **changes}
    return Offer(model="m", price=Price(1, 1), provider=NAMES.find_provider(base_url), **values)  # type: ignore[arg-type]


def passes(offer: Offer, only: str) -> bool:
    chosen = frozenset({parse_chosen(only, field="routing.only")})
    ask = Ask("m", Tokens(1, 1), Tokens(1, 1), only=chosen)
    return assess(offer, OfferState(), ask).drop is not Drop.FILTERED


@pytest.mark.parametrize("label", ["openai", OTHER, OFFER_ID, "provider:openai"])
def test_only__a_label_that_is_not_his__does_not_pass(label: str) -> None:
    offer = make_offer("https://evil.example/v1", label=label, offer_id="another")

    assert not passes(offer, "openai")
    assert not passes(offer, f"seller:{OTHER}")
    assert not passes(offer, OTHER)
    assert not passes(offer, f"offer:{OFFER_ID}")
    assert passes(offer, "provider:Evil.Example")


@pytest.mark.parametrize(
    "only",
    [
        "openai",
        "OpenAI",
        "provider:openai",
        f"seller:{SELLER.upper().replace('X', 'x')}",
        SELLER,
        f"offer:{OFFER_ID}",
        OFFER_ID,
    ],
)
def test_only__its_true_names__pass(only: str) -> None:
    assert passes(make_offer("https://api.openai.com/v1", label="whatever"), only)


@pytest.mark.parametrize(
    "text",
    [
        "\u043epenai",
        "open\u0430i",
        "\uff4fpenai",
        "openai\u200b",
        "provider:\u212apple",
        "label:openai",
        "seller:openai",
        f"offer:{'x' * 65}",
        "provider:-",
        " openai",
        "a,b",
        "",
        ":",
    ],
)
def test_parse_chosen__look_alikes_and_unknown_kinds__are_refused(text: str) -> None:
    with pytest.raises(RequestRejected) as refused:
        parse_chosen(text, field="routing.only")
    assert (refused.value.status, refused.value.param) == (400, "routing.only")


@pytest.mark.parametrize(
    "text",
    [
        '[providers.openai]\nhosts = ["api.openai.com"]\n'
        '[providers.other]\nhosts = ["api.openai.com"]',
        '[providers."open.ai"]\nhosts = ["api.openai.com"]',
        f'[providers.{SELLER}]\nhosts = ["api.openai.com"]',
        '[providers.openai]\nhosts = ["API.openai.com"]',
        '[providers.openai]\nhosts = ["https://api.openai.com"]',
        "[providers.openai]\nhosts = []",
        "[other]",
        "no table",
    ],
)
def test_load_name_table__wrong_table__is_fatal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.toml"
    path.write_text(text)
    with pytest.raises(NamesInvalid):
        load_name_table(path)


def test_find_provider__without_a_table__each_host_is_itself() -> None:
    assert ProviderNames().find_provider("https://api.openai.com/v1") == "openai.com"
