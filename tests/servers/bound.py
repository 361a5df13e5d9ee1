"""What the test servers have in common: a port that is bound before it is announced, and an end with the test process."""

import os
import socket
import sys
import threading


def bind() -> socket.socket:
    """Binds a free port of 127.0.0.1."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    return listener


def announce(port: int) -> None:
    """Prints the port, then ends standard output. Exits when standard input ends, that is, with the test process."""
    print(port, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def exit_with_stdin() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=exit_with_stdin, daemon=True).start()
