"""A connection that a test can break."""

import asyncio


class Proxy:
    """A TCP connection to the API server that a test can cut, or silence: open, but nothing comes through."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        """Made since the beginning."""

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def cut(self) -> int:
        """Close all connections and refuse new ones; returns the port to open again."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        self._server.close()
        self.drop()
        return port

    def drop(self) -> None:
        """Break the connections that there are; new ones are let through."""
        for writer in list(self._writers):
            writer.transport.abort()

    def silence(self) -> None:
        self._flows.clear()

    def speak(self) -> None:
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(behind_writer)
        await asyncio.gather(
            self._pump(reader, behind_writer), self._pump(behind_reader, writer), return_exceptions=True
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
