"""The tables of error codes in the documents are what the code answers with, and nothing else.

A page's codes are those of its own packages, and of what its routes call of the server.
"""

import re

import pytest

from tests.support.documents import find_document
from tests.support.error_codes import ErrorCode, find_error_codes

EVERY_ROUTE = (
    "market/http/paying.py",
    "serving/http/bodies.py",
    "serving/http/open_bodies.py",
    "serving/http/strict_json.py",
    "serving/http/errors.py:internal_error",
    "serving/http/errors.py:ledger_unavailable",
    "serving/http/errors.py:method_not_allowed",
    "serving/http/errors.py:rate_limited",
    "market/errors.py:kms_unavailable",
)
PAGES = {
    "docs/suppliers.md": ("market/http/supply", "market/suppliers", *EVERY_ROUTE),
    "docs/resale.md": (
        "market/http/resale",
        "market/http/withdrawals",
        "market/resale",
        "market/payments",
        "market/http/dependencies.py:get_seller",
        "market/identity/authentication.py:Authenticator.authenticate",
        "market/identity/authentication.py:Authenticator.read_signed",
        "serving/http/repeated.py",
        "serving/http/front.py",
        *EVERY_ROUTE,
    ),
}
"""Each page that has a table under the heading `Errors`, and where its codes are."""

_ROW = re.compile(r"^\| *((?:`[a-z0-9_]+`(?:, )?)+) *\| *(\d{3}) *\|", re.M)


def read_table(name: str) -> list[ErrorCode]:
    """Return the codes of a page's table, each with the status of its row."""
    _, _, after = find_document(name).text.partition("\n## Errors\n")
    section = after.partition("\n## ")[0]
    return [
        ErrorCode(code, int(status))
        for codes, status in _ROW.findall(section)
        for code in re.findall(r"`([a-z0-9_]+)`", codes)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_errors__of_a_page__are_those_of_its_code(name: str) -> None:
    told, raised = read_table(name), find_error_codes(*PAGES[name])
    families = [one for one in raised if one.code.endswith("*")]

    def is_of_family(one: ErrorCode) -> bool:
        return any(
            one.status == family.status and one.code.startswith(family.code[:-1])
            for family in families
        )

    exact = {one for one in raised if not one.code.endswith("*")}
    assert len(told) == len(set(told)), "a code stands there twice"
    assert exact - set(told) == set(), "the code answers with these, the page does not say so"
    assert {one for one in set(told) - exact if not is_of_family(one)} == set(), "no code has these"
    for family in families:
        assert any(one.code.startswith(family.code[:-1]) for one in told), family.code


def test_find_error_codes__what_a_function_far_away_raises__is_the_callers() -> None:
    found = find_error_codes("market/suppliers/kyb_form.py")

    assert ErrorCode("shares_wrong", 400) in found
    assert ErrorCode("id_number_wrong", 400) in found
    assert ErrorCode("document_*", 400) in find_error_codes("market/suppliers/document_checks.py")
    assert ErrorCode("not_found", 404) in find_error_codes("market/http/supply/offers/routes.py")
    one = find_error_codes("market/services.py:Services.seal")
    assert one == {ErrorCode("kms_unavailable", 503)}
