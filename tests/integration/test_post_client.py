"""The client over real sockets: what servers answer, and how they break off."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from imageflow.errors import TransportError
from imageflow.http.post_client import NotSentError, PostClient

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
BAD = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\nX-Reason: why\r\n\r\n{"a": "no"}'


class Server:
    """Answers each request with the next of `answers`: bytes, or None to close. Keeps what it was asked."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else OK
                if answer is None:
                    break
                writer.write(answer)
                if b"Connection: close" in answer or b"HTTP/1.0" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[str]:
    """A server's URL; leaving waits until every connection has ended."""
    talks: set[asyncio.Task[None]] = set()

    async def talk_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            talks.discard(task)

    async with await asyncio.start_server(talk_to_the_end, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        await asyncio.gather(*talks)


@asynccontextmanager
async def wired(*answers: bytes | None, max_bytes: int = 1 << 20) -> AsyncIterator[tuple[Server, PostClient]]:
    server = Server(*answers)
    async with serving(server.talk) as server.url:
        client = PostClient(server.url + "/images/?x=1", max_bytes=max_bytes)
        try:
            yield server, client
        finally:
            client.close()


async def test_a_post_and_its_answer():
    """The request is a plain HTTP/1.1 POST; of a good answer the status is kept, of another all of it."""
    async with wired(OK, BAD) as (server, client):
        assert (await client.post("Token abc", b'{"p":1}', 5)).status == 201
        answer = await client.post("Token abc", b'{"p":2}', 5)
    assert (answer.status, answer.headers["x-reason"], answer.body) == (400, "why", b'{"a": "no"}')
    head, body = server.asked[0].split(b"\r\n\r\n")
    assert head.startswith(b"POST /images/?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Token abc" in head.split(b"\r\n")
    assert body == b'{"p":1}'
    assert server.connections == 1, "the connection is kept"


async def test_many_at_once_on_connections_of_their_own():
    """Requests do not wait for each other; connections are kept for the next ones."""
    async with wired() as (server, client):
        for _ in range(3):
            answers = await asyncio.gather(*(client.post("t", b"%d" % n, 5) for n in range(20)))
            assert {answer.status for answer in answers} == {201}
        assert server.connections == 20
        assert len(server.asked) == 60


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 500, b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 N\r\nContent-Length: 1\r\n\r\nx", 404, b"x"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.0 503 Busy\r\nConnection: close\r\n\r\nuntil the end", 503, b"until the end"),
        (b"HTTP/1.1 429 Slow\r\nConnection: close\r\nContent-Length: 1\r\n\r\nz", 429, b"z"),
    ],
)
async def test_ways_to_answer(raw: bytes, status: int, body: bytes):
    """Chunked bodies, interim answers, no body at all, and bodies that end with the connection; then it goes on."""
    async with wired(raw, OK) as (_, client):
        answer = await client.post("t", b"{}", 5)
        assert (answer.status, answer.body) == (status, body)
        assert (await client.post("t", b"{}", 5)).status == 201


async def test_compressed_though_not_asked_for():
    """A gzip body is unpacked, with a bound: a bomb is an error."""

    def packed(text: bytes) -> bytes:
        data = gzip.compress(text)
        return b"HTTP/1.1 400 B\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)

    async with wired(packed(b"plain"), packed(bytes(1 << 20)), max_bytes=1000) as (_, client):
        assert (await client.post("t", b"{}", 5)).body == b"plain"
        with pytest.raises(TransportError, match="larger than 1,000 bytes") as caught:
            await client.post("t", b"{}", 5)
        assert not caught.value.transient


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "broke off or cannot be decoded"),
        (b"HTTP/1.1 500 E\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc", "broke off"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nzz", "HTTP/1.1|in time|broke off"),
        (None, "closed without an answer"),
    ],
)
async def test_ways_to_break_off(raw: bytes | None, says: str):
    """What is no answer is a transient error that names the server; the next request is well."""
    async with wired(raw) as (server, client):
        with pytest.raises(TransportError, match=says) as caught:
            await client.post("t", b"{}", 2)
        assert server.url in str(caught.value)
        assert caught.value.transient
        assert (await client.post("t", b"{}", 5)).status == 201


async def test_a_kept_connection_that_the_server_closed():
    """It is replaced once, unseen: the answer comes over a new connection."""
    async with wired(OK, None, OK) as (server, client):
        await client.post("t", b"1", 5)
        assert (await client.post("t", b"2", 5)).status == 201
        assert server.connections == 2


@pytest.mark.parametrize("kept", [True, False], ids=["kept connection", "new connection"])
async def test_a_request_that_must_not_be_sent(kept: bool):
    """A sender that may not send any more when the connection is there sends nothing, and the client goes on."""
    async with wired(OK, OK) as (server, client):
        if kept:
            await client.post("t", b"1", 5)
        with pytest.raises(NotSentError):
            await client.post("t", b"2", 5, may_send=lambda: False)
        assert (await client.post("t", b"3", 5)).status == 201
        assert [asked[-1:] for asked in server.asked] == ([b"1", b"3"] if kept else [b"3"])


async def test_a_request_that_must_not_be_repeated():
    """A kept connection closes without an answer and the request must not go out again: it may have been taken."""
    allowed = [True, False]
    async with wired(OK, None, OK) as (server, client):
        await client.post("t", b"1", 5)
        with pytest.raises(TransportError, match="without an answer") as caught:
            await client.post("t", b"2", 5, may_send=lambda: allowed.pop(0))
        assert caught.value.transient
        assert len(server.asked) == 2


async def test_an_answer_too_large():
    """More than `max_bytes` is a permanent error."""
    raw = b"HTTP/1.1 400 B\r\nContent-Length: 2000\r\n\r\n" + bytes(2000)
    async with wired(raw, max_bytes=1000) as (_, client):
        with pytest.raises(TransportError, match="larger than 1,000 bytes") as caught:
            await client.post("t", b"{}", 5)
        assert not caught.value.transient


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"])
async def test_no_answer_in_time(answer: bytes):
    """The deadline holds for the whole answer, and the error says that it was the time."""

    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()

    async with serving(stuck) as url:
        client = PostClient(url)
        with pytest.raises(TransportError, match="in time") as caught:
            await client.post("t", b"{}", 0.3)
        assert caught.value.kind == "timeout"
        client.close()


async def test_a_deadline_on_a_connection_that_is_taken_over():
    """A connection may carry a request before the task runs on that waited for the answer before: its deadline counts too."""
    async with wired(*([OK] * 6 + [b""]) * 100) as (_server, client):

        async def post_again_and_again() -> int:
            late = 0
            for _ in range(40):
                try:
                    await client.post("Token t", b"{}", 0.3)
                except TransportError as error:
                    assert error.kind == "timeout"
                    late += 1
            return late

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(post_again_and_again()) for _ in range(16)]
        assert sum(task.result() for task in tasks) == 640 // 7
        client.close()


async def test_nobody_there():
    """A refused connection is transient and says so."""
    client = PostClient("http://127.0.0.1:9/")
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:9 cannot be reached"):
        await client.post("t", b"{}", 5)
    client.close()


async def test_not_tls():
    """A server that does not speak TLS is an error like others."""
    async with wired() as (server, _):
        client = PostClient(server.url.replace("http:", "https:"))
        with pytest.raises(TransportError):
            await client.post("t", b"{}", 2)
        client.close()


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\nb", "\x00", "ключ"])
async def test_a_token_that_would_smuggle_a_header(token: str):
    """It is refused before anything is sent."""
    async with wired() as (server, client):
        with pytest.raises(TransportError, match="cannot be sent") as caught:
            await client.post(f"Token {token}", b"{}", 5)
        assert not caught.value.transient
        assert server.asked == []


@pytest.mark.parametrize("url", ["ftp://a/", "http:///x", "http://[::1", "nonsense"])
async def test_no_url(url: str):
    """A URL that cannot be asked is a permanent error, at once."""
    with pytest.raises(TransportError) as caught:
        PostClient(url)
    assert not caught.value.transient


async def test_a_cancelled_request():
    """Its connection is not used again: the answer that comes late is nobody's."""
    asked = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with serving(slow) as url:
        client = PostClient(url)
        task = asyncio.ensure_future(client.post("t", b"{}", 5))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not client._idle
        client.close()


def test_on_the_loop_of_the_services():
    """Uvloop's transports behave the same: answers, closed connections, time-outs, nobody there."""

    async def all_of_it() -> None:
        await test_a_post_and_its_answer()
        await test_a_kept_connection_that_the_server_closed()
        await test_no_answer_in_time(b"")
        await test_nobody_there()
        await test_many_at_once_on_connections_of_their_own()

    uvloop.run(all_of_it())
