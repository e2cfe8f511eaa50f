"""The proxy's one upstream: which models it has, what they cost, and its completions.

How a provider is called and what its answers mean is ``serving.models``; here is what the proxy
asks of it. It raises ``UpstreamFailure`` and ``UpstreamRejected``: ``upstream_errors`` says what
a client is told of them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from pyreqwest.request import RequestBuilder

from proxy.settings import ProxySettings
from serving.dialects.endpoints import Endpoint
from serving.models.failures import Cause, UpstreamFailure, UpstreamRejected
from serving.models.grades import MINIMUM_HEADER, Grade
from serving.models.price_ceilings import write_ceilings
from serving.models.sold import DRAIN_HEADER, SALES_PATH, Sale, read_sale
from serving.models.terms import Tiers
from serving.models.upstream import (
    Access,
    ClientRules,
    ProviderAnswer,
    UpstreamStream,
    authorize,
    build_messages_post,
    build_post,
    configure_client,
    fetch,
    open_stream,
)

LIST_BYTES_MAX: Final = 4 * 1024**2
"""Longest list of models or prices: reading it must not hold up the requests, in bytes."""

BOOK_PAGE: Final = 500
"""Offers that are asked for at a time: the most that a market gives."""
BOOK_PAGES_MAX: Final = 10
"""Pages of one book that are read."""
BOOK_BYTES_MAX: Final = 2 * LIST_BYTES_MAX
"""After as much of one book no further page is read, in bytes."""

_MARKET_ROOT: Final = re.compile(r"(?:/min[0-9]{1,3})?/v1$")


class Upstream(Protocol):
    """What the proxy needs of a provider."""

    @property
    def name(self) -> str:
        """What clients are told served them."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no client is told."""
        ...

    async def fetch_models(self, minimum_grade: Grade | None = None) -> list[dict[str, Any]]:
        """Return upstream's model list.

        ``minimum_grade``: of a market's, what sellers of this provenance or a better one serve;
        None: as the settings have it.
        """
        ...

    async def fetch_book(self, model: str) -> list[dict[str, Any]]:
        """Return the offers of a model in a market's public book: approved sellers' first."""
        ...

    async def fetch_prices(self, minimum_grade: Grade | None = None) -> list[dict[str, Any]] | None:
        """Return upstream's own prices; none where it has no list, None where it does not say.

        ``minimum_grade``: see ``fetch_models``.
        """
        ...

    async def complete(
        self,
        endpoint: Endpoint,
        body: bytes,
        tiers: Tiers,
        minimum_grade: Grade | None = None,
        dialect: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        """Return a whole answer that costs us no more than these prices.

        ``minimum_grade``: the lowest provenance of who may serve; None: as the settings have it.
        ``dialect``: the headers of the client's own dialect.
        """
        ...

    async def open_stream(
        self,
        endpoint: Endpoint,
        body: bytes,
        tiers: Tiers,
        minimum_grade: Grade | None = None,
        dialect: Mapping[str, str] | None = None,
    ) -> UpstreamStream:
        """Return a streamed answer that has begun with success."""
        ...

    async def fetch_sale(self, sale_id: str) -> Sale | None:
        """Return what a market says that a request came to, None while it is not settled.

        Raises also where upstream keeps no such record.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class HttpUpstream:
    """An OpenAI-compatible endpoint over HTTP. To be made inside a running event loop."""

    def __init__(self, settings: ProxySettings) -> None:
        self._access = Access(
            settings.upstream_url.get_secret_value(), settings.upstream_key.get_secret_value()
        )
        self.name = settings.upstream_name
        self._minimum_grade = settings.minimum_grade
        self.secrets = self._access.secrets
        self._bytes_max = settings.upstream_body_bytes_max
        self._list_bytes_max = min(self._bytes_max, LIST_BYTES_MAX)
        self._asks_prices = settings.upstream_prices
        self._whole_timeout_s = settings.upstream_timeout_s
        self._list_timeout_s = 2 * settings.upstream_connect_timeout_s
        rules = ClientRules(
            connect_timeout_s=settings.upstream_connect_timeout_s,
            read_timeout_s=settings.upstream_timeout_s,
            pool_timeout_s=settings.upstream_timeout_s,
            connections_max=settings.upstream_connections_max,
        )
        self._client = configure_client(rules, user_agent="current-proxy").build()

    async def close(self) -> None:
        await self._client.close()

    async def fetch_models(self, minimum_grade: Grade | None = None) -> list[dict[str, Any]]:
        """Return the entries of upstream's model list that have an id."""
        data = (await self._fetch_json("models", minimum_grade)).parsed.get("data")
        if not isinstance(data, list):
            raise UpstreamFailure(Cause.BAD_FORMAT)
        return [
            entry
            for entry in data
            if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]
        ]

    async def fetch_book(self, model: str) -> list[dict[str, Any]]:
        """Return the offers of a model in a market's public book, page after page.

        At most ``BOOK_PAGES_MAX`` pages are read, and none after ``BOOK_BYTES_MAX``: what is behind
        them is left out. A market shows the sellers first that it has approved, so that those
        who are left out are others.
        """
        # The book is beside /v1, also for who is asked below /min{N}.
        root = _MARKET_ROOT.sub("", self._access.base_url)
        url = f"{root}/api/markets/{quote(model, safe='/')}"
        found: list[dict[str, Any]] = []
        query, size = {"limit": str(BOOK_PAGE)}, 0
        for _ in range(BOOK_PAGES_MAX):
            answer = await fetch(
                authorize(self._client.get(url).query(query), self._access),
                self._access,
                timeout_s=self._list_timeout_s,
                bytes_max=self._list_bytes_max,
            )
            offers = answer.parsed.get("offers")
            if not isinstance(offers, list):
                raise UpstreamFailure(Cause.BAD_FORMAT)
            found += [offer for offer in offers if isinstance(offer, dict)]
            size += len(answer.raw)
            cursor = answer.parsed.get("next_cursor")
            if not isinstance(cursor, str) or not cursor or size >= BOOK_BYTES_MAX:
                break
            query["cursor"] = cursor
        return found

    async def fetch_prices(self, minimum_grade: Grade | None = None) -> list[dict[str, Any]] | None:
        """Return the entries of upstream's price list; none where it has no such list.

        None where it does not answer: then what it said last stands for as long as it may.
        """
        if not self._asks_prices:
            return []
        try:
            data = (await self._fetch_json("prices", minimum_grade)).parsed.get("data")
        except UpstreamRejected as error:
            return [] if error.status == 404 else None
        except UpstreamFailure:
            return None
        entries = data if isinstance(data, list) else []
        return [entry for entry in entries if isinstance(entry, dict)]

    async def complete(
        self,
        endpoint: Endpoint,
        body: bytes,
        tiers: Tiers,
        minimum_grade: Grade | None = None,
        dialect: Mapping[str, str] | None = None,
    ) -> ProviderAnswer:
        """Return a whole answer; where this raises, nothing is to be charged."""
        return await fetch(
            self._build_post(endpoint, body, tiers, minimum_grade, dialect),
            self._access,
            timeout_s=self._whole_timeout_s,
            bytes_max=self._bytes_max,
        )

    async def open_stream(
        self,
        endpoint: Endpoint,
        body: bytes,
        tiers: Tiers,
        minimum_grade: Grade | None = None,
        dialect: Mapping[str, str] | None = None,
    ) -> UpstreamStream:
        """Return a streamed answer that has begun with success."""
        # After a client has left, this server reads on; once it has had enough, so has the market,
        # but for the few seconds that it reads on at least.
        post = self._build_post(endpoint, body, tiers, minimum_grade, dialect)
        return await open_stream(post.header(DRAIN_HEADER, "0"), self._access)

    async def fetch_sale(self, sale_id: str) -> Sale | None:
        """Return what a market says that a request came to, None while it is not settled."""
        return read_sale((await self._fetch_json(f"{SALES_PATH}/{sale_id}")).parsed)

    def _build_post(
        self,
        endpoint: Endpoint,
        body: bytes,
        tiers: Tiers,
        minimum_grade: Grade | None,
        dialect: Mapping[str, str] | None,
    ) -> RequestBuilder:
        # So that no seller serves who is dearer than what the buyer is charged, or whom the buyer
        # does not trust.
        grade = self._minimum_grade if minimum_grade is None else minimum_grade
        ceilings = {**write_ceilings(tiers), MINIMUM_HEADER: grade.value}
        url = f"{self._access.base_url}/{endpoint}"
        if endpoint is Endpoint.MESSAGES:
            told = {**(dialect or {}), **ceilings}
            return build_messages_post(self._client, url, self._access, body, told)
        return build_post(self._client, url, self._access, body, ceilings)

    async def _fetch_json(self, name: str, minimum_grade: Grade | None = None) -> ProviderAnswer:
        request = authorize(self._client.get(f"{self._access.base_url}/{name}"), self._access)
        grade = self._minimum_grade if minimum_grade is None else minimum_grade
        request = request.header(MINIMUM_HEADER, grade.value)
        return await fetch(
            request,
            self._access,
            timeout_s=self._list_timeout_s,
            bytes_max=self._list_bytes_max,
        )
