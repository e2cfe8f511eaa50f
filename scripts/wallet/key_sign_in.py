"""Signing in at a proxy by EIP-4361, as wallets do in a browser."""

from datetime import UTC, datetime
from typing import Any

from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from scripts.asking import get_json, post_json


def issue_key(api_url: str, account: LocalAccount, token_id: int) -> dict[str, Any]:
    """Trade a wallet's signature for an API key of its position; return the proxy's answer.

    Raises ``Refused`` with the proxy's own words, ``ProxySilent`` and ``UrlInvalid``.
    """
    told = get_json(f"{api_url}/keys/nonce?tokenId={token_id}")
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    message = str(told["template"]).replace("<address>", account.address).replace("<time>", now)
    signature = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    answer: dict[str, Any] = post_json(
        f"{api_url}/keys", {"message": message, "signature": signature}
    )
    return answer
