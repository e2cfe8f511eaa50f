"""What the devnet's own API tells strangers of its calls."""

from x402.extensions.bazaar import validate_discovery_extension
from x402.extensions.bazaar.types import parse_discovery_extension

from market.resale.connection_terms import parse_terms
from market.resale.sold_apis import describe_discovery
from scripts.stack.devnet_api import OPENAPI, OPERATIONS


def test_operations__in_the_catalogue__say_how_each_is_called_and_what_it_answers() -> None:
    body = {
        "name": "chain-analytics", "base_url": "https://api.test",
        "credential": "header: x-api-key",
        "operations": list(OPERATIONS), "openapi": OPENAPI, "monthly_quota": 10,
    }  # fmt: skip
    terms = parse_terms(body)

    shown = {str(one): describe_discovery(one) for one in terms.operations}

    assert len(shown) == len(OPERATIONS)
    assert all("output" in one["info"] for one in shown.values())
    for one in shown.values():
        checked = validate_discovery_extension(parse_discovery_extension(one))
        assert checked.valid, checked.errors
    (search,) = (
        one["schema"]["properties"]["input"]["properties"]
        for one in shown.values()
        if one["info"]["input"]["method"] == "POST"
    )
    assert search["body"]["required"] == ["addresses"]


def test_call_of_a_block__in_its_402__is_what_the_schema_lets_through() -> None:
    terms = parse_terms(
        {
            "name": "chain-analytics", "base_url": "https://api.test",
            "credential": "header: x-api-key", "operations": ["GET /v1/blocks/{number}"],
            "openapi": OPENAPI, "monthly_quota": 10,
        }
    )  # fmt: skip

    shown = describe_discovery(terms.operations[0], {"number": "3"})

    assert shown["info"]["input"]["pathParams"] == {"number": 3}
    assert validate_discovery_extension(parse_discovery_extension(shown)).valid
