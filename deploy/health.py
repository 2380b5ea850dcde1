"""Whether the service in this container answers: `health.py [PORT [PATH]]`, by default /health on METRICS_PORT.

It runs every few seconds in every container, and there is no curl: so it imports next to nothing.
"""

import os
import socket
import sys

PATIENCE_SECONDS = 4.0


def answers(port: int, path: str) -> bool:
    """Whether a GET of `path` on this machine is answered 200."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))


def main() -> int:
    """Exit status 0: it answers; 1: it does not."""
    port = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("IMAGEFLOW_METRICS_PORT", "9090")
    path = sys.argv[2] if len(sys.argv) > 2 else "/health"
    try:
        return 0 if answers(int(port), path) else 1
    except OSError as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
