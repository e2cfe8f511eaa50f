"""Media: what is answered at once, jobs, and what sellers made."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import RowMapping

from market.errors import invalid_key, not_found
from market.http.dependencies import IdPath, ServicesDep, errors_of
from market.http.front import answer_by, find_payment
from market.http.mirrors import get_minimum, get_path, get_segment
from market.http.offers.routes import read_idempotency_key
from market.http.schemas import MEDIA
from market.identity.keys import Role
from market.media.artifacts import PATH
from market.media.jobs import Submission
from market.media.requests import ASYNCHRONOUS, Medium, parse_media
from market.payments.paywall import PaidCall
from market.records.store import KeyHolder
from market.services import Services
from serving.http.answers import Answer, to_response
from serving.http.bodies import find_header, read_body
from serving.http.front import get_request_id

router = APIRouter()

_CALL: Final = errors_of(400, 401, 402, 404, 405, 408, 409, 413, 415, 422, 502)
_JOB: Final = errors_of(400, 401, 404, 405)
_JOB_TOKEN: Final = "job_"
_BINARY: Final = {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
_ANSWERS: Final[dict[Medium, dict[int | str, dict[str, Any]]]] = {
    Medium.SPEECH: {200: {"content": {"audio/*": {"schema": {"type": "string"}}}}},
    Medium.TRANSCRIPTIONS: {200: {"content": {"application/json": {}, "text/plain": {}}}},
}
JobToken = Annotated[str | None, Header(alias="x-job-token", max_length=100)]


def _add_call(medium: Medium) -> None:
    status = 202 if medium in ASYNCHRONOUS else 200

    @router.post(
        f"/v1/{medium}",
        status_code=status,
        responses={**_CALL, **_ANSWERS.get(medium, {})},
        openapi_extra=MEDIA[medium],
        name=medium.replace("/", "_"),
    )
    async def call(request: Request, services: ServicesDep) -> Response:
        """Serve a request for media from the cheapest seller who may serve it. Also below /min{N}:
        then only from sellers N % or more below the reference price. Videos and music are jobs:
        the answer says where to ask for them, and holds a token to do so."""
        request_id = get_request_id(request.scope)
        answer = await answer_by(
            lambda: _answer_call(request, services, medium, request_id),
            services.metrics,
            request_id,
        )
        return to_response(answer)


async def _answer_call(
    request: Request, services: Services, medium: Medium, request_id: str
) -> Answer:
    scope, minimum_pct = request.scope, get_minimum(request.scope)
    bytes_max = (
        services.upload_bytes_max if medium is Medium.TRANSCRIPTIONS else services.body_bytes_max
    )
    header, payment = find_header(scope, b"authorization"), find_payment(scope)
    paywall = services.paywall
    is_paid = paywall is not None and (header is None or payment is not None)
    buyer = None if is_paid else await services.identify(header, Role.BUYER)
    idempotency_key = read_idempotency_key(request) if medium in ASYNCHRONOUS else None
    raw = await read_body(scope, request.receive, services, bytes_max=bytes_max)
    parsed = parse_media(medium, request.headers.get("content-type", ""), raw)
    asks = services.media.build_asks(parsed, minimum_pct)

    async def serve_to(holder: KeyHolder) -> Answer:
        if medium not in ASYNCHRONOUS:
            return await services.media.serve(holder, parsed, asks, request_id=request_id)
        submission = Submission(
            holder, parsed, asks, raw, get_segment(scope), idempotency_key, request_id
        )
        return await services.jobs.submit(submission)

    if buyer is not None:
        return await serve_to(buyer)
    assert paywall is not None
    paid = PaidCall(get_path(scope), raw, asks, serve_to)
    answer = await paywall.sell(payment, paid, request_id=request_id)
    assert isinstance(answer, Answer)
    return answer


for _medium in Medium:
    _add_call(_medium)


def _add_job(medium: Medium) -> None:
    @router.get(f"/v1/{medium}/{{job_id}}", responses=_JOB, name=f"{medium.name.lower()}_poll")
    async def poll(
        request: Request, services: ServicesDep, job_id: IdPath, x_job_token: JobToken = None
    ) -> Response:
        """Return how a job is. By a key of the account that submitted it, or by the job's token."""
        row = await _find_job(request, services, medium, job_id, x_job_token)
        return to_response(services.jobs.answer(row, get_segment(request.scope)))

    @router.delete(f"/v1/{medium}/{{job_id}}", responses=_JOB, name=f"{medium.name.lower()}_cancel")
    async def cancel(
        request: Request, services: ServicesDep, job_id: IdPath, x_job_token: JobToken = None
    ) -> Response:
        """Cancel a job that has not ended, without a charge. By the same key or token."""
        row = await _find_job(request, services, medium, job_id, x_job_token)
        return to_response(await services.jobs.cancel(row, get_segment(request.scope)))


for _medium in sorted(ASYNCHRONOUS):
    _add_job(_medium)


async def _find_job(
    request: Request, services: Services, medium: Medium, job_id: str, token: str | None
) -> RowMapping:
    """Return the job that the caller may see. Raises 401, 404."""
    header = request.headers.get("authorization")
    bearer = (header or "").removeprefix("Bearer ")
    if token is None and bearer.startswith(_JOB_TOKEN):
        token = bearer
    if token is not None:
        if not services.jobs.is_token(job_id, token):
            raise invalid_key()
        row = await services.jobs.find(medium, job_id)
    else:
        buyer = await services.identify(header, Role.BUYER)
        row = await services.jobs.find(medium, job_id)
        if row is not None and row["account_id"] != buyer.owner:
            row = None
    if row is None:
        raise not_found("job")
    return row


@router.get(
    PATH + "{artifact_id}",
    responses={**errors_of(400, 404, 405, 502), 200: _BINARY},
    response_class=Response,
)
async def get_artifact(
    services: ServicesDep, artifact_id: Annotated[str, Path(max_length=64)]
) -> Response:
    """Hand out what a seller made. The id is the right to fetch it, for a while."""
    download, content_type = await services.artifacts.open(artifact_id)
    headers = {
        "content-type": content_type,
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-store",
    }
    if download.size is not None:
        headers["content-length"] = str(download.size)
    return StreamingResponse(download.pieces(), headers=headers)
