"""Every operation of the proxy, called on a proxy over a ledger with a batch that was settled.

::

    each operation ── succeeds once; what it answers is what the document says, in every field
    each that takes a key ── without one: 401; each that takes a body ── a wrong one: 400
    a completion that is refused ── says its figures; one that fails ── says that it costs nothing
    the examples in the document ── are these answers
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from sqlalchemy import Engine

from ledger.database.engine import write
from ledger.spending.batches import close_batch, plan_batch
from proxy.errors import format_time
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.openapi import Document, get_proxy_document, hold_examples
from tests.support.proxy import (
    RunningProxy,
    make_body,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)

ROOT: Final = "/api/current"
OWNER: Final[LocalAccount] = Account.from_key("0x" + "11" * 32)


async def test_operations__each_called__answer_as_documented_and_as_the_examples(
    tmp_path: Path,
) -> None:
    document = Document(get_proxy_document().written)
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    put(engine)
    async with FakeEndpoint() as provider:
        settings = make_settings(
            upstream_url=provider.url,
            prices_file=write_prices(tmp_path),
            webhooks=False,
            webhooks_loopback=True,
        )
        async with run_proxy(settings, engine, document=document) as proxy:
            headers = await sign_in(proxy)
            await call_sessions(proxy)
            await call_children(proxy, headers)
            await call_webhooks(proxy, headers)
            request_id = await call_chat(proxy, provider, headers)
            await call_dialects(proxy, headers)
            settle(engine)
            await call_requests(proxy, headers, request_id)
            await call_public(proxy)
            await call_wrongly(proxy, headers, document)
    engine.dispose()

    good = {name for name, bodies in document.answered.items() if _is_good(bodies)}
    assert good == document.operations.keys()
    hold_examples(document, "proxy.http", {})


def _is_good(bodies: dict[str, Any]) -> bool:
    return any(key < "300" for key in bodies if key != "request")


def put(engine: Engine) -> None:
    """Mirror a position of the owner's, with a hold."""
    state = replace(make_state(now_s=now_s(), hold_usdc=50_000), owner=OWNER.address.lower())
    with write(engine) as connection:
        put_positions(connection, state)
        put_cursor(connection, now_s=now_s())


def settle(engine: Engine) -> None:
    """Put what was posted into a batch, and settle it."""
    with write(engine) as connection:
        batch = plan_batch(connection, limits_usdc={0: 500_000}, now_s=now_s())
        assert batch is not None
        close_batch(connection, batch.batch_id, block_number=11, tx_hash="0x" + "cd" * 32)


async def ask(
    proxy: RunningProxy, method: str, path: str, headers: Any = None, **options: Any
) -> Any:
    """Call an operation, which succeeds."""
    answer = await proxy.client.request(method, ROOT + path, headers=headers, **options)
    assert answer.is_success, answer.text
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return answer.json() if is_json else answer.text


async def sign_in(proxy: RunningProxy) -> dict[str, str]:
    """Sign in as the owner's wallet does; return the header with the key."""
    nonce = await ask(proxy, "GET", "/keys/nonce?tokenId=0")
    message = (
        nonce["template"]
        .replace("<address>", to_checksum_address(OWNER.address))
        .replace("<time>", format_time(now_s()))
    )
    signed = OWNER.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    issued = await ask(proxy, "POST", "/keys", json={"message": message, "signature": signed})
    return {"authorization": f"Bearer {issued['apiKey']}"}


async def call_sessions(proxy: RunningProxy) -> None:
    """Sign in as the owner's browser does, look, and sign out."""
    asked = await ask(proxy, "GET", f"/session/message?address={OWNER.address}")
    signed = OWNER.sign_message(encode_defunct(text=asked["message"])).signature.to_0x_hex()
    wish = {"message": asked["message"], "signature": signed}
    answer = await proxy.client.post(f"{ROOT}/session", json=wish)
    cookie = {"cookie": answer.headers["set-cookie"].split(";")[0]}
    shown = await ask(proxy, "GET", "/session", cookie)
    assert [one["token_id"] for one in shown["positions"]] == [0]
    # The test's proxy listens on a port of its own; its domain is what the settings say.
    ours = {**cookie, "origin": asked["message"].split("URI: ")[1].split("\n")[0]}
    await ask(proxy, "DELETE", "/session/this", ours)
    await ask(proxy, "GET", f"/positions?owner={OWNER.address}")


async def call_children(proxy: RunningProxy, headers: dict[str, str]) -> None:
    terms = {"label": "summaries", "day_usdc_max": 50_000, "requests_per_minute_max": 0}
    made = await ask(proxy, "POST", "/keys/children", headers, json=terms)
    path = f"/keys/children/{made['keyId']}"
    await ask(proxy, "GET", "/keys/children", headers)
    child = {"authorization": f"Bearer {made['apiKey']}"}
    await ask(proxy, "GET", "/keys/self", child)
    refused = await proxy.client.get(f"{ROOT}/keys/children", headers=child)
    assert refused.status_code == 403
    limited = await proxy.client.post(
        f"{ROOT}/v1/chat/completions", json=make_body(), headers=child
    )
    assert limited.status_code == 429, limited.text
    await ask(proxy, "PATCH", path, headers, json={"requests_per_minute_max": 10})
    await ask(proxy, "POST", f"{path}/rotate", headers, json={"grace_s": 60})
    policy = {"provider": {"max_price": {"prompt": 5}, "sort": "latency"}}
    await ask(proxy, "PUT", f"{path}/policy", headers, json=policy)
    await ask(proxy, "PUT", "/keys/policy", headers, json=policy)
    await ask(proxy, "GET", "/keys/policy", headers)
    await ask(proxy, "PUT", "/keys/policy", headers, json={"provider": None})
    await ask(proxy, "DELETE", path, headers)


async def call_webhooks(proxy: RunningProxy, headers: dict[str, str]) -> None:
    """Set a webhook at an address that does not answer, and take it away again."""
    wish = {"url": "http://127.0.0.1:9/hook", "events": ["allowance.low"], "low_usdc": 50_000}
    made = await ask(proxy, "POST", "/webhooks", headers, json=wish)
    path = f"/webhooks/{made['webhookId']}"
    await ask(proxy, "GET", "/webhooks", headers)
    await ask(proxy, "POST", f"{path}/ping", headers)
    await ask(proxy, "GET", f"{path}/deliveries", headers)
    await ask(proxy, "POST", f"{path}/deliveries/0/replay", headers)
    await ask(proxy, "POST", f"{path}/rotate", headers, json={"grace_s": 60})
    await ask(proxy, "DELETE", path, headers)


async def call_chat(proxy: RunningProxy, provider: FakeEndpoint, headers: dict[str, str]) -> str:
    """Complete, stream, quote, and fail; return the id of the completion."""
    path = f"{ROOT}/v1/chat/completions"
    answer = await proxy.client.post(path, json=make_body(), headers=headers)
    assert answer.status_code == 200, answer.text
    await ask(proxy, "POST", "/v1/chat/completions", headers, json=make_body(stream=True))
    dear = make_body(max_tokens=4_096, n=128)
    quote = await ask(proxy, "POST", "/v1/quote", headers, json=dear)
    assert not quote["admitted"]
    provider.behaviour = "status_500"
    failed = await proxy.client.post(path, json=make_body(), headers=headers)
    assert failed.status_code == 502, failed.text
    provider.behaviour = "normal"
    return answer.headers["x-request-id"]


async def call_dialects(proxy: RunningProxy, headers: dict[str, str]) -> None:
    body = {**make_body(), "messages": [{"role": "user", "content": "Say hello."}]}
    for stream in (False, True):
        await ask(proxy, "POST", "/v1/messages", headers, json={**body, "stream": stream})
    await ask(proxy, "POST", "/v1/messages/count_tokens", headers, json=body)
    asked = {"model": body["model"], "input": "Say hello.", "max_output_tokens": 100}
    for stream in (False, True):
        await ask(proxy, "POST", "/v1/responses", headers, json={**asked, "stream": stream})
    text = {"model": body["model"], "prompt": "Say hello.", "max_tokens": 100}
    for stream in (False, True):
        await ask(proxy, "POST", "/v1/completions", headers, json={**text, "stream": stream})
    inputs = {"model": body["model"], "input": ["Say hello.", "Say goodbye."]}
    await ask(proxy, "POST", "/v1/embeddings", headers, json=inputs)
    stored = await proxy.client.get(f"{ROOT}/v1/responses/resp_1", headers=headers)
    assert stored.json()["error"]["code"] == "response_not_stored"


async def call_requests(proxy: RunningProxy, headers: dict[str, str], request_id: str) -> None:
    receipt = await ask(proxy, "GET", f"/receipts/{request_id}", headers)
    assert receipt["settlement"]["state"] == "settled"
    await ask(proxy, "GET", "/usage", headers)
    await ask(proxy, "GET", "/usage.csv", headers)
    await ask(proxy, "GET", "/v1/key", headers)
    await ask(proxy, "GET", "/v1/credits", headers)
    await ask(proxy, "GET", f"/v1/generation?id={request_id}", headers)


async def call_public(proxy: RunningProxy) -> None:
    model = make_body()["model"]
    for path in (
        "/models",
        "/v1/models",
        f"/v1/models/{model}",
        "/positions/0",
        "/deployment",
        "/overview",
        "/healthz",
        "/readyz",
        "/metrics",
    ):
        await ask(proxy, "GET", path)
    unknown = await proxy.client.get(f"{ROOT}/v1/models/nobody-has-this")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "model_not_found"


async def call_wrongly(proxy: RunningProxy, headers: dict[str, str], document: Document) -> None:
    """Call every operation without its key, and with a body that is no object."""
    for path, methods in document.written["paths"].items():
        filled = path.replace("{", "").replace("}", "")
        for method, operation in methods.items():
            body = b"[]" if "requestBody" in operation else None
            if "security" in operation:
                answer = await proxy.client.request(method, filled, content=body)
                assert answer.status_code == 401, (path, answer.text)
            if body is not None:
                refused = await proxy.client.request(method, filled, headers=headers, content=body)
                assert refused.status_code == 400, (path, refused.text)
