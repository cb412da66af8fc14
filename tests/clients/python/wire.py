"""Every answer that crossed the wire, whichever client asked for it: its id and its usage."""

import json
from dataclasses import dataclass, field

import httpx2


@dataclass
class Answer:
    """As its reader was told; `key` is whoever asked. A cut stream has no usage."""

    key: str
    id: str | None = None
    usage: dict | None = None

    @property
    def tokens(self) -> int | None:
        """Output tokens, by whichever name the route has for them."""
        usage = self.usage or {}
        return usage.get("completion_tokens", usage.get("output_tokens"))


@dataclass
class Wire:
    """Makes HTTP clients for the SDKs, and takes down what their answers say."""

    answers: list[Answer] = field(default_factory=list)

    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=_Transport(self), follow_redirects=True)

    def async_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=_AsyncTransport(self), follow_redirects=True)

    def take(self, request: httpx2.Request, body: bytes) -> None:
        headers = request.headers
        key = headers.get("x-api-key") or headers["authorization"].removeprefix("Bearer ")
        answer = Answer(key)
        for message in _messages(body):
            # The object itself, or one that an event brings.
            for holder in (message, message.get("response"), message.get("message")):
                if isinstance(holder, dict):
                    answer.id = answer.id or holder.get("id")
                    answer.usage = holder.get("usage") or answer.usage
        if answer.id:
            self.answers.append(answer)


def _messages(body: bytes) -> list[dict]:
    """The JSON objects of a plain or a streamed answer; none of one that is cut or no JSON."""
    lines = body.split(b"\n")
    events = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: {")]
    try:
        messages = [json.loads(event) for event in events or [body]]
    except ValueError:
        return []
    return [message for message in messages if isinstance(message, dict)]


class _Transport(httpx2.HTTPTransport):
    def __init__(self, wire: Wire):
        super().__init__()
        self.wire = wire

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        response.stream = _Stream(response.stream, self.wire, request)
        return response


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, wire: Wire):
        super().__init__()
        self.wire = wire

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.stream = _AsyncStream(response.stream, self.wire, request)
        return response


class _Tap:
    def __init__(self, stream, wire: Wire, request: httpx2.Request):
        self.stream, self.wire, self.request = stream, wire, request
        self.taken = bytearray()


class _Stream(_Tap, httpx2.SyncByteStream):
    def __iter__(self):
        for part in self.stream:
            self.taken += part
            yield part

    def close(self) -> None:
        self.stream.close()
        self.wire.take(self.request, bytes(self.taken))


class _AsyncStream(_Tap, httpx2.AsyncByteStream):
    async def __aiter__(self):
        async for part in self.stream:
            self.taken += part
            yield part

    async def aclose(self) -> None:
        await self.stream.aclose()
        self.wire.take(self.request, bytes(self.taken))
