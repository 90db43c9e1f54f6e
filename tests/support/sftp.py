"""A real SFTP server (asyncssh's) in a thread of this process, over a directory, with one user."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

USER = "backup"
PASSWORD = "sftp-secret-1234567890"


class SftpServer:
    """Where it listens, and what can be done to its connections.

    Attributes:
        port: on 127.0.0.1.
        known_hosts: a file that vouches for its key.
    """

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.directory = directory / "served"
        self.directory.mkdir(parents=True)
        self.known_hosts = directory / "known_hosts"
        self.port = 0
        self._loop = loop
        self._connections: list[asyncssh.SSHServerConnection] = []
        self._listener: asyncssh.SSHAcceptor | None = None

    def url(self, path: str) -> str:
        """Of a path below its directory."""
        return f"sftp://{USER}@127.0.0.1:{self.port}/{path}"

    def options(self, **others: Any) -> dict[str, object]:
        """What a client needs besides."""
        return {"password": PASSWORD, "known_hosts": str(self.known_hosts), "client_keys": None, **others}

    def drop_connections(self) -> int:
        """Cuts all connections at once, as a dying server does; returns how many there were."""
        return asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(10)

    async def _drop(self) -> int:
        dropped = [connection for connection in self._connections if not connection.is_closed()]
        for connection in dropped:
            connection.abort()
        self._connections.clear()
        return len(dropped)

    async def begin(self) -> None:
        """Starts to listen."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        self._listener = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[key],
            server_factory=lambda: _Doorkeeper(self._connections),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(self.directory)),
        )
        self.port = self._listener.get_port()
        public = key.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")

    async def end(self) -> None:
        """Stops listening."""
        await self._drop()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()


class _Doorkeeper(asyncssh.SSHServer):
    def __init__(self, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


@contextmanager
def sftp_server(directory: Path) -> Iterator[SftpServer]:
    """A running server, stopped at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = SftpServer(directory, loop)
    try:
        asyncio.run_coroutine_threadsafe(server.begin(), loop).result(20)
        yield server
        asyncio.run_coroutine_threadsafe(server.end(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
