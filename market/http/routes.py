"""All ordinary routes."""

from typing import Final

from fastapi import APIRouter

from market.http import (
    earning_routes,
    inference_routes,
    list_routes,
    media_routes,
    offer_routes,
    own_provider_routes,
    payment_routes,
    public_routes,
    sign_in_routes,
)

router: Final = APIRouter()
for _module in (
    sign_in_routes,
    offer_routes,
    earning_routes,
    inference_routes,
    list_routes,
    media_routes,
    own_provider_routes,
    payment_routes,
    public_routes,
):
    router.include_router(_module.router)
