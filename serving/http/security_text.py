"""Whom to tell of a weakness: ``/.well-known/security.txt`` (RFC 9116)."""

import time
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from serving.http.errors import RequestRejected

PATH: Final = "/.well-known/security.txt"
CONTACT_PATTERN: Final = r"^$|^(https://|mailto:)[!-~]+$"
"""What RFC 9116 takes for a contact, and nothing that could begin another line."""
VALID_S: Final = 180 * 86_400
"""How far ahead the text expires: the RFC recommends less than a year."""


def write_security_text(contact: str, *, now_s: int) -> str:
    """Return the text; ``contact`` is an https or mailto URL. Valid for 180 days from now on."""
    expires = datetime.fromtimestamp(now_s + VALID_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n"


def build_security_router(contact: str) -> APIRouter:
    """Return the route that serves the text; 404 where the operator has named no contact."""
    router = APIRouter(include_in_schema=False)

    @router.get(PATH, response_class=PlainTextResponse)
    async def tell_contact() -> str:
        if not contact:
            raise RequestRejected(
                404, "not_found", "The operator has named no contact for security reports."
            )
        return write_security_text(contact, now_s=int(time.time()))

    return router
