"""``security.txt``: what a finder of a weakness reads, and what an operator may set."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serving.http.exceptions import handle_exceptions
from serving.http.security_text import PATH, build_security_router, write_security_text
from serving.http.settings import ServerSettings

NOON_S = 1_796_040_000


def make_client(contact: str) -> TestClient:
    app = FastAPI()
    app.include_router(build_security_router(contact))
    handle_exceptions(app, {})
    return TestClient(app, raise_server_exceptions=False)


def test_text__at_noon__expires_within_a_year_in_the_rfcs_words() -> None:
    lines = write_security_text("mailto:security@example.com", now_s=NOON_S).splitlines()
    fields = dict(line.split(": ", 1) for line in lines)
    assert fields["Contact"] == "mailto:security@example.com"
    expires = datetime.fromisoformat(fields["Expires"])
    now = datetime.fromtimestamp(NOON_S, UTC)
    assert timedelta(days=30) < expires - now < timedelta(days=365)


def test_route__with_a_contact__is_plain_text() -> None:
    answer = make_client("https://example.com/security").get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "Contact: https://example.com/security\n" in answer.text


def test_route__without_a_contact__is_not_found() -> None:
    answer = make_client("").get(PATH)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "contact",
    ["security@example.com", "http://example.com", "mailto:a\nExpires: never", "https://"],
)
def test_setting__that_the_rfc_does_not_take__is_refused(contact: str) -> None:
    with pytest.raises(ValueError, match="security_contact"):
        ServerSettings(port=0, security_contact=contact)
