"""The bodies of requests and answers, as ``/openapi.json`` documents them.

Amounts named ``*_usdc`` are integers of 1e-6 USDC; times are ISO 8601 in UTC, or Unix seconds where
the name ends in ``_s``.
"""

from pydantic import BaseModel, ConfigDict


class ErrorDetail(BaseModel):
    """An OpenAI-shaped error. Refusals carry their facts as further fields."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail
