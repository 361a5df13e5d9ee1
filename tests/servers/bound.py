"""What the test servers share: they bind their port before they print it, and they end with the process that started them."""

import os
import socket
import sys
import threading


def bind(port: int = 0) -> socket.socket:
    """Binds a port of 127.0.0.1: a free one if `port` is 0. Exits if another program has the port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if port > 0:
        # Connections of an earlier server on this port may still be in TIME_WAIT. Not for port 0: with this option, the
        # system may choose a port that another server has bound and does not listen on yet.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"cannot bind port {port} of 127.0.0.1: {error.strerror}")
    return listener


def announce(port: int) -> None:
    """Prints the port, then closes standard output."""
    print(port, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def exit_with_parent() -> None:
    """Exits when standard input ends, that is, with the process that started the server."""

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait_for_end, daemon=True).start()
