"""All ordinary routes."""

from typing import Final

from fastapi import APIRouter

from market.http.buyers.routes import router as buyers
from market.http.earnings.routes import router as earnings
from market.http.inference.routes import router as inference
from market.http.markets.routes import router as markets
from market.http.media.routes import router as media
from market.http.offers.routes import router as offers
from market.http.operation.routes import router as operation
from market.http.own_providers.routes import router as own_providers
from market.http.sellers.routes import router as sellers
from market.http.sign_in.routes import router as sign_in

router: Final = APIRouter()
for _part in (
    sign_in,
    sellers,
    offers,
    earnings,
    buyers,
    own_providers,
    markets,
    inference,
    media,
    operation,
):
    router.include_router(_part)
