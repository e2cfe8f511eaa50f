"""The upstream of every proxy test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.endpoint import FakeEndpoint


@pytest.fixture
async def provider() -> AsyncIterator[FakeEndpoint]:
    """Return an upstream that answers well until a test tells it otherwise."""
    async with FakeEndpoint() as provider:
        yield provider
