"""All ordinary routes."""

from typing import Final

from fastapi import APIRouter

from proxy.http.chat.routes import router as chat
from proxy.http.keys.child_routes import router as child_keys
from proxy.http.keys.routes import router as keys
from proxy.http.models.routes import host_router
from proxy.http.models.routes import router as models
from proxy.http.operation.routes import router as operation
from proxy.http.positions.routes import router as positions
from proxy.http.requests.routes import router as requests

router: Final = APIRouter()
for _part in (keys, child_keys, models, chat, positions, requests, operation):
    router.include_router(_part, prefix="/api/current")
router.include_router(host_router)
