"""A network that can be broken: proxies between a service and its servers."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import urlsplit

STATES = ("open", "cut", "stall", "half_open")


class Network:
    """The loop of all proxies, in a thread of its own."""

    def __init__(self) -> None:
        self._proxies: list[Proxy] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def proxy(self, target: str) -> Proxy:
        """A proxy in front of the server of a URL; its own `url` leads through it."""
        self._proxies.append(Proxy(self, target))
        return self._proxies[-1]

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def close(self) -> None:
        for proxy in self._proxies:
            proxy.close()
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        passing = asyncio.all_tasks() - {asyncio.current_task()}
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


class Proxy:
    """Passes TCP on to the server of `target`, and takes a state:

    open        all bytes are passed on
    cut         connections are reset; a new one is accepted, then reset
    stall       all bytes wait until the proxy is open again
    half_open   the server is gone and the client is not told: nothing comes, and what it sends leads nowhere
    """

    def __init__(self, network: Network, target: str) -> None:
        parts = urlsplit(target)
        self._network = network
        self._target = (parts.hostname, parts.port)
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._state = "open"
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = network.do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        self.url = target.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}")

    def be(self, state: str) -> None:
        """Take a state."""

        async def change() -> None:
            self._state = state
            if state == "stall":
                self._flowing.clear()
            else:
                self._flowing.set()
            for client, server in list(self._pairs):
                if state in ("cut", "half_open"):
                    server.transport.abort()
                if state == "cut":
                    client.transport.abort()

        self._network.do(change())

    def close(self) -> None:
        async def end() -> None:
            self._server.close()

        self.be("cut")
        self._network.do(end())

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._state == "cut":
            client.transport.abort()
            return
        if self._state == "half_open":
            await self._swallow(reader, client)
            return
        try:
            back, server = await asyncio.open_connection(*self._target)
        except OSError:
            client.transport.abort()
            return
        pair = (client, server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, server), self._pump(back, client))
        except asyncio.CancelledError:
            pass  # the story is over: a cancelled task of a server is logged as an error
        finally:
            self._pairs.discard(pair)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        if self._state == "half_open":
            await self._swallow(reader, writer)
        writer.close()

    async def _swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell the writer's side nothing until it goes away by itself, or the proxy resets it."""
        try:
            while not writer.transport.is_closing() and await reader.read(1 << 16):
                pass
            while not writer.transport.is_closing():
                await asyncio.sleep(0.2)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
