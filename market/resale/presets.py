"""What is known of APIs that are resold often: where they are and how their key is sent. Pure.

A preset fills in what an owner leaves out, and is the owner's to correct. What could not be checked
is not guessed: it is asked for.
"""

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nansen": {
        "base_url": "https://api.nansen.ai",
        "credential": "header: apikey",
        "operations": [
            "POST /api/v1/smart-money/netflow",
            "POST /api/v1/smart-money/holdings",
            "POST /api/v1/smart-money/dex-trades",
            "POST /api/v1/tgm/holders",
            "POST /api/v1/tgm/flows",
            "POST /api/v1/tgm/transfers",
            "POST /api/v1/profiler/address/current-balance",
            "POST /api/v1/profiler/address/transactions",
        ],
    },
    "arkham": {
        "base_url": "https://api.arkm.com",
        "credential": "header: API-Key",
        "operations": [
            "GET /intelligence/address/{address}",
            "GET /intelligence/address/{address}/all",
            "GET /intelligence/entity/{entity}",
            "GET /intelligence/contract/{chain}/{address}",
            "GET /portfolio/address/{address}",
            "GET /history/address/{address}",
            "GET /counterparties/address/{address}",
            "GET /transfers",
        ],
    },
    "kaito": {},
}
"""By the API's own name. Kaito's address and way of sending its key are unverified: asked for."""

BASE_COST_USD: Final = "0.05"
"""What the reference takes a call to cost where an owner states nothing: 500 for 10,000."""
MARKUP: Final = 3
"""The reference's example."""
NEEDED: Final[Mapping[str, str]] = {
    "base_url": "where the API is, e.g. https://api.example.com",
    "credential": "how its key is sent: 'header: NAME', 'bearer', 'basic' or 'query: NAME'",
    "operations": "what may be called, e.g. 'GET /v1/wallets/{address}', or an 'openapi' document",
}


def fill_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an owner's words with what the preset of that name adds."""
    known = PRESETS.get(str(body.get("name", "")), {})
    filled = {**known, **body}
    if "openapi" in body and "operations" not in body:
        filled.pop("operations", None)
    return filled


def find_missing(body: Mapping[str, Any]) -> list[str]:
    """Return what an owner has to say yet, in the order of ``NEEDED``."""
    has = dict.fromkeys(name for name, value in body.items() if value is not None)
    return [
        name
        for name in NEEDED
        if name not in has and not (name == "operations" and "openapi" in has)
    ]
