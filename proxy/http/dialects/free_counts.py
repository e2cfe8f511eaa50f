"""How many tokens a request in Anthropic's dialect probably has: free, and nothing is asked."""

import orjson
from starlette.types import Receive, Scope

from proxy.http.front import TRANSLATIONS
from proxy.keys.authentication import authenticate
from proxy.services import Services
from serving.dialects.dialect import MESSAGES
from serving.dialects.speaking import build_errors_of, find_authorization
from serving.dialects.token_counts import estimate_input
from serving.http.answers import Answer
from serving.http.exceptions import answer_safely


async def count_tokens(
    scope: Scope, receive: Receive, services: Services, request_id: str
) -> Answer:
    """Answer with the number of tokens. Raises ``ClientGone`` only."""

    async def serve() -> Answer:
        claims = authenticate(find_authorization(scope, MESSAGES), services.known_keys)
        services.limits.take_request((claims.token_id, claims.key_id))
        is_proven = await services.completions.proven.check(claims.token_id)
        raw = await services.limits.read_body(
            scope, receive, services, claims.token_id, is_proven=is_proven
        )
        counted = orjson.dumps({"input_tokens": estimate_input(raw)})
        headers = {"content-type": "application/json", "request-id": request_id}
        return Answer(200, headers, counted)

    return await answer_safely(
        serve,
        TRANSLATIONS,
        request_id=request_id,
        observe=lambda _: None,
        build=build_errors_of(MESSAGES, request_id),
    )
