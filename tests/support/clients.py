"""The blocks of docs/clients.md, as their readers use them."""

from typing import Final

from tests.support.documents import find_document
from tests.support.walkthrough import read_blocks

PAGE: Final = "docs/clients.md"
_HOST: Final = "https://your-deployment.example/api/current/v1"


def read_client_block(heading: str, *, url: str, model: str) -> str:
    """Return the one block below a client's heading, for this server and model.

    ``url`` is the base URL with /v1. The key stands in the environment, as the page says.
    """
    (block,) = (one for one in read_blocks(find_document(PAGE)) if one.heading == heading)
    text = block.text.replace(_HOST, url)
    text = text.replace(_HOST.removesuffix("/v1"), url.removesuffix("/v1"))
    return text.replace("your-model", model)
