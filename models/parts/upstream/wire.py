"""The connection to an upstream: what goes out is chosen here, what comes in is bounded.

The client library adds headers of its own, and some from the environment, which are nobody's
business; and it reads an answer of any size into memory.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

import httpx2
import openai

from models.base import UpstreamSetup

ANSWER_BYTES_MAX = 64 << 20
"""A PNG of 4096 x 4096 of noise, as base64, inside JSON; what is fetched has limits of its own."""
CONNECT_S = 10.0
WRITE_S = 60.0
_SENT = frozenset(
    {
        "accept",
        "connection",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "transfer-encoding",
    }
)

for _library in ("httpcore2", "httpx2", "openai"):
    # They log every header that comes, and who knows what an upstream writes there.
    logging.getLogger(_library).setLevel(logging.WARNING)


class AnswerRefused(Exception):
    """An answer that is not read to its end: too large, or compressed."""


class _Bounded(httpx2.AsyncByteStream):
    """An answer's body, of which only so much is read."""

    def __init__(self, stream: httpx2.AsyncByteStream, bytes_max: int) -> None:
        self._stream = stream
        self._left = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise AnswerRefused("the answer is too large")
            yield chunk

    async def aclose(self) -> None:
        """Close the connection's stream."""
        await self._stream.aclose()


class Transport(httpx2.AsyncBaseTransport):
    """Sends the headers that an upstream needs and no others, with this key whatever the client
    thinks; refuses what is not plain bytes."""

    def __init__(self, key: str, bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)
        self._authorization = f"Bearer {key}"
        self._bytes_max = bytes_max

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request and the head of its answer. Raises AnswerRefused, or as httpx2 does."""
        headers = [(name, v) for name, v in request.headers.multi_items() if name in _SENT]
        # What unpacks to a thousand times its size is no picture.
        headers += [("Accept-Encoding", "identity"), ("User-Agent", "media-farm")]
        headers.append(("Authorization", self._authorization))
        # A new request: the client looks for headers of its own in the one that it made.
        bare = httpx2.Request(
            request.method,
            request.url,
            headers=headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        response = await self._inner.handle_async_request(bare)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise AnswerRefused("the answer is compressed, which nobody asked for")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response.stream, self._bytes_max),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


@contextlib.asynccontextmanager
async def connected(setup: UpstreamSetup) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of one upstream. It follows no redirect and tries nothing twice by itself: its
    own retries know of no cancel and no time limit over all of them."""
    timeout = httpx2.Timeout(setup.timeout_s, connect=CONNECT_S, write=WRITE_S)
    # A key is for the host that it was given for, so no redirect and no proxy of the environment.
    async with httpx2.AsyncClient(
        transport=Transport(setup.key), timeout=timeout, follow_redirects=False, trust_env=False
    ) as http:
        yield openai.AsyncOpenAI(
            api_key=setup.key, base_url=setup.base_url, http_client=http, max_retries=0
        )
