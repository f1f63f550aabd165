"""Keep a client on this machine: any name or address but loopback's is refused before a packet leaves."""

import socket
from typing import Any

_OWN = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "", None)


class LeftLoopbackError(RuntimeError):
    """A client wanted to reach another machine."""


def _check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in _OWN:
        raise LeftLoopbackError(f"the client wants to reach {name}")


def guard() -> None:
    """Refuse from now on to look up or connect to anything but this machine. Call it before a client is imported.

    Raises LeftLoopbackError later, inside the client, at the call that would have left.
    """
    look_up, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        _check(host)
        return look_up(host, *args, **kwargs)

    def guarded_connect(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple):
            _check(address[0])
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple):
            _check(address[0])
        return connect_ex(self, address)

    socket.getaddrinfo = guarded_look_up
    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
