"""What of the market's settings concerns suppliers, all ``MARKET_SUPPLIER_…`` or named alike."""

from pydantic import Field

from serving.http.settings import ServerSettings


class SupplierSettings(ServerSettings):
    """How suppliers sign in."""

    supplier_session_idle_s: int = Field(
        default=12 * 3_600,
        ge=300,
        le=30 * 86_400,
        description="how long a supplier's session may go unused, seconds",
    )
    supplier_session_s: int = Field(
        default=14 * 86_400,
        ge=300,
        le=90 * 86_400,
        description="how long a supplier's session lives however much it is used, seconds",
    )
