"""Put on the path of a server under test: every step off this machine is refused, and told on stderr."""

import ipaddress
import sys


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _watch(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_here(host):
        sys.stderr.write(f"OUTBOUND {event} {host}\n")
        sys.stderr.flush()
        raise OSError("this server is tested without a network")


sys.addaudithook(_watch)
