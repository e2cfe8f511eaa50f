"""What sellers made and keep: handed out by ids of ours, fetched through the market.

An id is the right to fetch: random, not to be guessed, and valid for a while. The seller's URL is
fetched as its endpoint is called: public addresses only, the one that was checked, no redirects,
bounded in size. Its key goes along only to its own endpoint.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.selling.jobs import NewArtifact, save_artifacts
from market.endpoints.client import Download, SellerClient
from market.errors import not_found
from market.records.database import Database
from market.records.jobs import load_artifact
from market.routing.book import Book
from serving.http.errors import TryLater, overloaded
from serving.models.failures import UpstreamFailure, UpstreamRejected
from serving.models.upstream import Access
from serving.process.turns import NoPlace

_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_SHOWN: Final = re.compile(
    r"(image/(png|jpeg|webp|gif|avif)|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+)"
)
PATH: Final = "/v1/media/artifacts/"


class Artifacts:
    """Names, saves and fetches what sellers made."""

    def __init__(
        self,
        database: Database,
        book: Book,
        seller_client: SellerClient,
        *,
        public_url: str,
        lifetime_s: int,
    ) -> None:
        self._database = database
        self._book = book
        self._seller_client = seller_client
        self._public_url = public_url
        self.lifetime_s = lifetime_s

    def name(self, urls: Sequence[str]) -> list[NewArtifact]:
        """Return ids for what is at ``urls``."""
        return [NewArtifact(secrets.token_urlsafe(32), url) for url in urls]

    def get_url(self, artifact_id: str) -> str:
        """Return where a buyer fetches it."""
        return f"{self._public_url}{PATH}{artifact_id}"

    def hide(self, images: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[NewArtifact]]:
        """Return images with our URLs in place of the seller's, and what they stand for."""
        shown, kept = [], []
        for image in images:
            url = image.get("url")
            if not isinstance(url, str) or url.startswith("data:"):
                shown.append(image)
                continue
            (artifact,) = self.name([url])
            kept.append(artifact)
            shown.append({**image, "url": self.get_url(artifact.artifact_id)})
        return shown, kept

    def save(
        self, artifacts: Sequence[NewArtifact], *, sale_id: str, offer_id: str
    ) -> Callable[[Connection], None] | None:
        """Return what writes them down, None where there are none."""
        if not artifacts:
            return None
        expires_at_s = self._database.now_s() + self.lifetime_s
        return lambda connection: save_artifacts(
            connection, artifacts, sale_id=sale_id, offer_id=offer_id, expires_at_s=expires_at_s
        )

    async def open(self, artifact_id: str) -> tuple[Download, str]:
        """Return something that was made, as it arrives, and its content type. Raises 404, 502."""
        row = None
        if _ID.fullmatch(artifact_id) is not None:
            now_s = self._database.now_s()
            row = await self._database.read(
                lambda connection: load_artifact(connection, artifact_id, now_s=now_s)
            )
        if row is None:
            raise not_found("artifact")
        try:
            download = await self._seller_client.open_download(
                row["url"], await self._find_access(row["offer_id"])
            )
        except NoPlace:
            raise overloaded() from None
        except (UpstreamFailure, UpstreamRejected):
            message = "The seller does not hand out what it made just now."
            raise TryLater(502, "artifact_unavailable", message) from None
        is_shown = _SHOWN.fullmatch(download.content_type) is not None
        return download, download.content_type if is_shown else "application/octet-stream"

    async def _find_access(self, offer_id: str) -> Access | None:
        live = self._book.find_live(offer_id)
        if live is None:
            return None
        try:
            return await self._book.open_access(live.offer, live.base_url)
        except CurrentError:
            return None  # it may be handed out without a key
