"""What a consumer is told where a call cannot be served. Pure."""

import math
from typing import Final

from serving.http.errors import TryLater, unavailable

RETRY_S_MAX: Final = 31 * 86_400


def quota_sold(left_s: int) -> TryLater:
    """503: all that is for sale of this period is sold."""
    wait_s = min(max(1, left_s), RETRY_S_MAX)
    message = "All of this API's quota that is for sale is sold until it is renewed."
    return unavailable("quota_sold", message, retry_after_s=wait_s)


def resting(left_s: float) -> TryLater:
    """503: the API has refused or limited the last calls, and is left alone for a while."""
    message = "This API refuses calls for now, so none is sent. You are not charged."
    return unavailable("api_resting", message, retry_after_s=max(1, math.ceil(left_s)))


def not_on_sale() -> TryLater:
    """503: the owner has changed or withdrawn the connection just now."""
    message = (
        "This API's terms have changed just now. Ask again for the price. You are not charged."
    )
    return unavailable("api_changed", message, retry_after_s=1)


def all_failed(attempts: int) -> TryLater:
    """502: each connection that was tried failed."""
    message = f"{attempts} of the connections to this API failed. You are not charged."
    return TryLater(502, "api_failed", message)
