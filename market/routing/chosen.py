"""How a request names the sellers that it wants, or does not want. Pure.

::

    offer:<offer id>      one offer
    seller:<address>      all offers of a wallet
    provider:<name>       all offers whose endpoint is this provider's, found from its host
    <name>                the same; offers' ids and wallets' addresses may stand bare too

Each kind has its own prefix, so no name of one kind can be taken for a name of another. Without a
prefix none can either: ids are the market's, addresses are signed for, and the name of a provider
has the form of neither (``market.identity.provider_names``). All names are compared in lower case
and are plain ASCII: a letter that only looks like another is refused, not compared.
"""

import re
from typing import Any, Final

from market.identity.keys import is_address
from serving.http.errors import wrong_type

_PREFIXES: Final = ("offer", "seller", "provider")
_OFFER: Final = re.compile(r"[a-z0-9_-]{1,64}")
_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9.:_-]{0,252}")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def name_offer(offer_id: str) -> str:
    """Return the name of one offer."""
    return f"offer:{offer_id.lower()}"


def name_seller(address: str) -> str:
    """Return the name of all offers of a wallet."""
    return f"seller:{address.lower()}"


def name_provider(provider: str) -> str:
    """Return the name of all offers of a provider's endpoints."""
    return f"provider:{provider.lower()}"


def parse_chosen(text: Any, *, field: str) -> str:
    """Return a name as it is compared. Raises ``RequestRejected`` (400), naming the field."""
    if not isinstance(text, str) or not text.isascii():
        raise wrong_type(field, "a list of names in plain ASCII")
    kind, colon, name = text.lower().partition(":")
    if not colon:
        return _parse_bare(kind, field)
    if kind not in _PREFIXES:
        raise wrong_type(field, "a list of offer:<id>, seller:<address> or provider:<name>")
    is_valid = {
        "offer": _OFFER.fullmatch(name) is not None,
        "seller": is_address(name),
        "provider": _PROVIDER.fullmatch(name) is not None,
    }[kind]
    if not is_valid:
        raise wrong_type(field, f"a list whose {kind}: is followed by {_FOLLOWED_BY[kind]}")
    return f"{kind}:{name}"


def is_offer_id(word: str) -> bool:
    """Tell whether a word in lower case has the form of an offer's id."""
    return _ID.fullmatch(word) is not None


def _parse_bare(word: str, field: str) -> str:
    if is_address(word):
        return name_seller(word)
    if is_offer_id(word):
        return name_offer(word)
    if _PROVIDER.fullmatch(word) is None:
        raise wrong_type(field, "a list of offer:<id>, seller:<address> or provider:<name>")
    return name_provider(word)


_FOLLOWED_BY: Final = {
    "offer": "an offer's id",
    "seller": "the address of a wallet",
    "provider": "a provider's name, such as openai or example.com",
}
