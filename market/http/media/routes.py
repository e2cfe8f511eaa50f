"""Media: what is answered at once, jobs, and what sellers made."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import RowMapping

from market.errors import invalid_key, not_found
from market.http.dependencies import BUYER_KEY, CALL, IdPath, ServicesDep
from market.http.idempotency import read_idempotency_key
from market.http.inference.schemas import HEADERS
from market.http.media.schemas import ANSWERS, BODIES, CONTENTS, Job
from market.http.mirrors import get_minimum, get_path, get_segment
from market.http.paying import answer_by, find_payment
from market.identity.keys import Role
from market.media.artifacts import PATH
from market.media.jobs import Submission
from market.media.requests import ASYNCHRONOUS, Medium, parse_media
from market.payments.paywall import PaidCall
from market.records.store import KeyHolder
from market.services import Services
from serving.http.answers import Answer, to_response
from serving.http.bodies import find_header, read_body
from serving.http.document.schemas import errors_of, security_of
from serving.http.document.writing import JSON, body_of, bytes_of
from serving.http.front import get_request_id
from serving.http.idempotency_header import IDEMPOTENCY

router = APIRouter(tags=["media"])

_JOB: Final = errors_of(400, 401, 404, 405)
_JOB_TOKEN: Final = "job_"
_JOB_KEY: Final = [*BUYER_KEY, *security_of("jobToken", "the token of one job", "job_…")]
JobToken = Annotated[str | None, Header(alias="x-job-token", max_length=100)]


def _add_call(medium: Medium) -> None:
    is_job = medium in ASYNCHRONOUS
    status = 202 if is_job else 200
    answer: dict[str, Any] = {"headers": HEADERS, "content": CONTENTS.get(medium, {})}
    if medium in ANSWERS:
        answer["model"] = ANSWERS[medium]
    form = "multipart/form-data" if medium is Medium.TRANSCRIPTIONS else JSON

    @router.post(
        f"/v1/{medium}",
        status_code=status,
        response_class=JSONResponse if medium in ANSWERS else Response,
        responses={**CALL, status: answer},
        dependencies=BUYER_KEY,
        openapi_extra=body_of(BODIES[medium], media_type=form) | (IDEMPOTENCY if is_job else {}),
        name=f"create_{medium}",
    )
    async def call(request: Request, services: ServicesDep) -> Response:
        """Serve a request for media from the cheapest seller who may serve it.

        Also below /min{N}: then only from sellers N % or more below the reference price. Videos
        and music are jobs: the answer says where to ask for them, and holds a token to do so.
        """
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
    buyer = None
    if not is_paid:
        buyer = await services.identify(header, Role.BUYER, for_sale=True)
    idempotency_key = read_idempotency_key(request) if medium in ASYNCHRONOUS else None
    if buyer is not None:
        raw = await services.read_body(request, buyer, bytes_max=bytes_max)
    else:
        raw = await read_body(
            scope,
            request.receive,
            services,
            bytes_max=bytes_max,
            keep_open=services.limits.keep_open,
        )
    parsed = parse_media(medium, request.headers.get("content-type", ""), raw)
    asks = services.media.build_asks(parsed, minimum_pct, buyer=buyer)

    async def serve_to(holder: KeyHolder) -> Answer:
        services.limits.release(scope)
        if medium not in ASYNCHRONOUS:
            return await services.media.serve(holder, parsed, asks, request_id=request_id)
        submission = Submission(
            holder, parsed, asks, raw, get_segment(scope), idempotency_key, request_id
        )
        return await services.jobs.submit(submission)

    if buyer is not None:
        return await serve_to(buyer)
    assert paywall is not None
    paid = PaidCall(get_path(scope), raw, paywall.price(asks), serve_to)
    answer = await paywall.sell(payment, paid, request_id=request_id)
    assert isinstance(answer, Answer)
    return answer


for _medium in Medium:
    _add_call(_medium)


def _add_job(medium: Medium) -> None:
    @router.get(
        f"/v1/{medium}/{{job_id}}",
        response_class=JSONResponse,
        responses={**_JOB, 200: {"model": Job}},
        dependencies=_JOB_KEY,
        name=f"get_{medium.name.lower()}_job",
    )
    async def poll(
        request: Request, services: ServicesDep, job_id: IdPath, x_job_token: JobToken = None
    ) -> Response:
        """Return how a job is. By a key of the account that submitted it, or by the job's token."""
        row = await _find_job(request, services, medium, job_id, x_job_token)
        return to_response(services.jobs.answer(row, get_segment(request.scope)))

    @router.delete(
        f"/v1/{medium}/{{job_id}}",
        response_class=JSONResponse,
        responses={**_JOB, 200: {"model": Job}},
        dependencies=_JOB_KEY,
        name=f"cancel_{medium.name.lower()}_job",
    )
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
    responses={
        **errors_of(400, 404, 405, 502),
        200: {"description": "the file", "content": bytes_of("*/*")},
    },
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
