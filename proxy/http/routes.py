"""All ordinary routes."""

from typing import Final

from fastapi import APIRouter

from proxy.http.accounts.routes import router as accounts
from proxy.http.chat.routes import router as chat
from proxy.http.dialects.routes import router as dialects
from proxy.http.keys.child_routes import router as child_keys
from proxy.http.keys.policy_routes import router as policies
from proxy.http.keys.routes import router as keys
from proxy.http.models.routes import host_router
from proxy.http.models.routes import router as models
from proxy.http.operation.routes import router as operation
from proxy.http.overview.routes import router as overview
from proxy.http.positions.routes import router as positions
from proxy.http.requests.routes import router as requests
from proxy.http.sessions.routes import router as sessions
from proxy.http.webhooks.routes import router as webhooks

TAGS: Final = {
    "keys": "Keys for the owner of a position, and child keys with limits under them.",
    "sessions": "Signing in with a wallet in a browser, for the pages.",
    "webhooks": "Endpoints that are told what happens to a position.",
    "models": "The catalogue, in our words and in OpenAI's.",
    "chat": "Chat completions by OpenAI's API, and what one would cost.",
    "dialects": "The same by Anthropic's messages and OpenAI's responses.",
    "positions": "What anybody may see: the deployment, a position.",
    "requests": "What a key has asked for so far, and the receipts.",
    "operation": "What watches the process.",
}
"""The parts of the document, in its order."""

router: Final = APIRouter()
for _part in (
    keys,
    child_keys,
    policies,
    sessions,
    webhooks,
    models,
    chat,
    dialects,
    overview,
    positions,
    requests,
    accounts,
    operation,
):
    router.include_router(_part, prefix="/api/current")
router.include_router(host_router)
