"""Put on the path of a server under test: every step off this machine is refused, and told on stderr."""

import ipaddress
import sys


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    return _is_address(host) and ipaddress.ip_address(str(host)).is_loopback


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


def _watch(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and not _is_address(arguments[0]):
        host = arguments[0]  # a name server would be asked
    else:
        return
    if not _is_here(host):
        sys.stderr.write(f"OUTBOUND {event} {host}\n")
        sys.stderr.flush()
        raise OSError("this server is tested without a network")


sys.addaudithook(_watch)
