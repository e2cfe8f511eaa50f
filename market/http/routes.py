"""All ordinary routes."""

from typing import Final

from fastapi import APIRouter

from market.http.buyers.routes import router as buyers
from market.http.disputes.routes import router as disputes
from market.http.earnings.routes import router as earnings
from market.http.evidence.routes import router as evidence
from market.http.inference.routes import router as inference
from market.http.markets.routes import router as markets
from market.http.media.routes import router as media
from market.http.offers.routes import router as offers
from market.http.operation.routes import router as operation
from market.http.operator.routes import router as operator
from market.http.own_providers.routes import router as own_providers
from market.http.resale.public import router as apis
from market.http.resale.routes import router as resale
from market.http.sellers.public import router as seller_standings
from market.http.sellers.routes import router as sellers
from market.http.sign_in.routes import router as sign_in
from market.http.supply.routes import router as supply
from market.http.withdrawals.routes import router as withdrawals

TAGS: Final = {
    "keys": "Signing in with a wallet, as a seller or as a buyer, and the keys that it gives.",
    "sellers": "The terms agreed with a seller.",
    "offers": "What a seller sells, and what a provider's key can serve.",
    "earnings": "What a seller earned and failed.",
    "buyers": "Prepaid credit, its top-ups by x402, and taking back what is unused.",
    "own providers": "A buyer's own providers, asked before the market or after it, for nothing.",
    "resale": "APIs whose unused quota is sold by the call: connections and calls.",
    "markets": "What everybody may see: models, prices, books, routes, events.",
    "evidence": "What the lab has found out about offers, in public and for their sellers.",
    "inference": "Text, by OpenAI's API.",
    "suppliers": "Companies that apply with an e-mail address, are reviewed, and then sell.",
    "supply": "A supplier's offers, payout addresses, payouts and usage.",
    "reviews": "What reviewers see of suppliers, and what they decide.",
    "media": "Images, speech, transcriptions; videos and music as jobs.",
    "operation": "What watches the process.",
}
"""The parts of the document, in its order."""

router: Final = APIRouter()
for _part in (
    sign_in,
    sellers,
    offers,
    earnings,
    buyers,
    withdrawals,
    own_providers,
    resale,
    apis,
    evidence,
    disputes,
    markets,
    seller_standings,
    inference,
    supply,
    media,
    operation,
    operator,
):
    router.include_router(_part)
