"""All routes of suppliers."""

from typing import Final

from fastapi import APIRouter

from market.http.supply.accounts.routes import router as accounts
from market.http.supply.addresses.routes import router as addresses
from market.http.supply.applications.routes import router as applications
from market.http.supply.keys.routes import router as keys
from market.http.supply.kyb.routes import router as kyb
from market.http.supply.offers.routes import router as offers
from market.http.supply.payouts.routes import router as payouts
from market.http.supply.reviews.routes import router as reviews
from market.http.supply.sessions.routes import router as sessions
from market.http.supply.undoing.routes import router as undoing

router: Final = APIRouter()
for _part in (
    applications,
    accounts,
    sessions,
    undoing,
    keys,
    kyb,
    reviews,
    offers,
    addresses,
    payouts,
):
    router.include_router(_part)
