"""Serving the application: Solara's pages by uvicorn in this process, for this machine only unless asked otherwise.

Solara's own launcher follows $HOST and $SOLARA_*, fetches what it lacks from a content network, reports to its makers and
has no token. Here its routes are mounted one by one instead, its assets come from the installed package or not at all,
and `Guard` stands before everything.
"""

import atexit
import errno
import importlib.util
import ipaddress
import os
import re
import secrets
import socket
import sys
import threading
import warnings
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niche_sim.errors import InputError

if TYPE_CHECKING:
    from starlette.applications import Starlette

LOOPBACK, PORT = "127.0.0.1", 8765
PAGE = "niche_sim.view.app.page"
REMEDY = 'pip install "niche-sim[view]"'
LOST_TAB = "10m"  # a tab that closes is forgotten at once, one whose connection broke after this time
_NEEDED = ("solara", "ipyvue", "ipyvuetify", "uvicorn", "starlette")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,256}")
_STOP_S = 3  # what open pages are given to end when the server is stopped


@dataclass(frozen=True)
class Address:
    """Where the viewer listens.

    Attributes
    ----------
    host : str
        An address or name of this machine.
    port : int
        0 picks a free one.
    token : str, optional
        What every request must bring; none on loopback.
    """

    host: str = LOOPBACK
    port: int = PORT
    token: str | None = None


def check_installed() -> None:
    """Refuse to start without the extra `view`, or with a Vue 3 generation of its libraries, which draws nothing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the viewer needs {', '.join(missing)}: {REMEDY}")
    for name in ("ipyvue", "ipyvuetify"):
        version = metadata.version(name)
        if int(version.split(".")[0]) >= 3:
            raise InputError(f"the viewer needs {name} below 3, and {version} is installed: {REMEDY}")


def choose_address(host: str | None, port: int, token: str | None) -> Address:
    """Return where to listen; another address than loopback needs a token, "auto" makes one.

    Raises
    ------
    InputError
        No address, one that is not found, a token that is too short, or none where one is needed.
    """
    if host is not None and not host.strip():
        raise InputError("--host: expected an address of this machine; leave it out to serve this machine alone")
    if token == "auto":
        token = secrets.token_urlsafe(24)
    if token is not None and not _TOKEN.fullmatch(token):
        raise InputError("--token: expected 8 to 256 letters, digits, - or _; `--token auto` makes one")
    address = Address(host.strip() if host is not None else LOOPBACK, port, token)
    _resolve(address)
    return address


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return what to bind to; never what others can reach without a token."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"--host {address.host}: no such address; give one of this machine") from None
    family, _, _, _, place = found[0]
    if address.token is None and not ipaddress.ip_address(place[0]).is_loopback:
        raise InputError(
            f"--host {address.host}: who reaches the viewer can run code as you; add `--token auto`, on a network you trust"
        )
    return family, place


def open_socket(address: Address) -> socket.socket:
    """Return a bound socket, not yet listening; an address or port that cannot be had is an InputError."""
    family, place = _resolve(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise InputError(_explain(error, address)) from None
    return listener


def _explain(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {address.port}: in use; give another, or `--port 0` for a free one"
    if error.errno == errno.EACCES:
        return f"--port {address.port}: not allowed to this user; give one from 1024, or `--port 0` for a free one"
    return f"--host {address.host}: cannot listen there ({error.strerror}); give an address of this machine"


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def list_hosts(host: str, bound: str, port: int) -> set[str]:
    """Return the Host headers that mean a server that was asked to listen on `host` and is bound to the address `bound`."""
    names = {LOOPBACK, "localhost", "::1", host, bound}
    if _is_any(bound):
        import psutil

        names |= {a.address.split("%")[0] for addresses in psutil.net_if_addrs().values() for a in addresses}
        names |= {socket.gethostname(), socket.getfqdn()}
    hosts = {f"{_bracket(name)}:{port}" for name in names}
    return hosts | ({_bracket(name) for name in names} if port == 80 else set())  # browsers leave the usual port out


def _is_any(bound: str) -> bool:
    return ipaddress.ip_address(bound).is_unspecified


def _load_solara(page: str, url: str) -> Any:
    """Import Solara under our settings, whatever the environment says, and return its script of `page`."""
    for name in [name for name in os.environ if name.upper().startswith("SOLARA_") and name.upper() != "SOLARA_HOME"]:
        del os.environ[name]
    os.environ["SOLARA_TELEMETRY_MIXPANEL_ENABLE"] = "false"
    os.environ["SOLARA_TELEMETRY_SERVER_USER_ID"] = "none"  # else it writes one to the home folder
    import solara.settings
    from solara.server import settings

    settings.telemetry.mixpanel_enable = False
    settings.main.mode = "production"  # no reloading when files change
    settings.main.base_url, settings.main.root_path = url, ""
    settings.ssg.enabled = settings.search.enabled = False
    settings.theme.title, settings.theme.show_banner = "niche_sim", False
    settings.kernel.cull_timeout = LOST_TAB
    settings.session.http_only = True
    solara.settings.assets.proxy = True  # its addresses lead to this server, where `_list_routes` finds the files
    from solara.server import app

    # The cookie of a session is told apart for https, which a loopback server has no use for.
    warnings.filterwarnings("ignore", message="Cookies with samesite=none require https")
    app.apps["__default__"] = script = app.AppScript(page)
    script.check()
    return script


def _list_routes() -> list[Any]:
    """Return the routes of a Solara page: the page, its WebSocket, and files of installed packages; no public folders."""
    from solara.server import server, settings
    from solara.server import starlette as pages
    from starlette.routing import Mount, Route, WebSocketRoute

    class LocalAssets(pages.StaticCdn):
        """Libraries in JavaScript from the package solara-assets; what is not there is not fetched either."""

        lookup_path = pages.StaticFilesOptionalAuth.lookup_path

    return [
        Route("/readyz", pages.readyz),
        WebSocketRoute("/jupyter/api/kernels/{kernel_id}/{name}", pages.kernel_connection),
        Route("/jupyter/api/kernels/{id}", pages.kernels),
        Route("/_solara/api/close/{kernel_id}", pages.close, methods=["POST"]),
        Mount("/_solara/cdn", LocalAssets(directory=settings.assets.proxy_cache_dir, check_dir=False)),
        Mount("/static/assets", pages.StaticAssets()),
        Mount("/jupyter/nbextensions", pages.StaticNbFiles()),
        Mount("/static", pages.StaticFilesOptionalAuth(directory=server.solara_static)),
        Route("/", pages.root),
    ]


def _check_assets() -> None:
    """Refuse to start where the page asks for files that are not installed: it would stay white."""
    from solara.server import server, settings

    folder = Path(settings.assets.proxy_cache_dir)
    asked = re.findall(r'(?:href|src)="/_solara/cdn/([^"?]+)', server.read_root("/") or "")
    lost = [name for name in asked if not (folder / name.lstrip("/")).is_file()]
    if lost:
        raise InputError(f"the viewer's files are missing or of another version ({lost[0]}): {REMEDY}")


def build_application(page: str, url: str, guard: Callable[[Any], Any]) -> Any:
    """Return the ASGI application that serves the component `Page` of the module `page`, wrapped in its guard."""
    from starlette.applications import Starlette

    _load_solara(page, url)
    _check_assets()
    from solara.server import starlette as pages

    @asynccontextmanager
    async def lifespan(application: "Starlette") -> AsyncIterator[None]:
        yield
        pages.on_shutdown()  # closes every session, so that their threads end

    return guard(Starlette(routes=_list_routes(), lifespan=lifespan))


def serve(address: Address, *, page: str = PAGE, browser: bool = True, say: Callable[[str], None] = print) -> None:
    """Serve a page until KeyboardInterrupt (Ctrl-C, and SIGTERM where the caller makes it one), which is its normal end.

    Parameters
    ----------
    address : Address
    page : str
        Module with a component `Page`. Its target was set before.
    browser : bool
        Open it in the user's browser.
    say : callable of str
        Told the address when the first request can be answered.
    """
    from niche_sim.view.guard import Guard

    try:
        with open_socket(address) as listener:
            bound, port = listener.getsockname()[:2]
            hosts = list_hosts(address.host, bound, port)
            url = f"http://{_bracket(LOOPBACK if _is_any(bound) else address.host)}:{port}/"
            guard = partial(Guard, hosts=hosts, token=address.token, cookie=f"niche_sim_{port}")
            application = build_application(page, url, guard)
            full = url + (f"?token={address.token}" if address.token else "")
            _run(application, listener, lambda: _announce(full, browser, say))
    except KeyboardInterrupt:
        return  # uvicorn has ended in order, and hands the signal on


def leave() -> None:
    """End this process with exit code 0 where a thread of a session, inside the compiler or a long step, would hold it."""
    if any(not thread.daemon and thread is not threading.current_thread() for thread in threading.enumerate()):
        atexit._run_exitfuncs()  # gives back what the interpreter would complain of as leaked
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _announce(url: str, browser: bool, say: Callable[[str], None]) -> None:
    say(f"niche-sim view: {url} (Ctrl-C stops it)")
    if browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _has_screen() -> bool:
    """Tell whether a browser would open a window; one for terminals would take this one over."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _run(application: Any, listener: socket.socket, started: Callable[[], None]) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    config = uvicorn.Config(
        application, log_config=None, access_log=False, server_header=False, proxy_headers=False, loop="asyncio",
        ws_per_message_deflate=False,  # pictures are compressed already
        timeout_graceful_shutdown=_STOP_S,
    )  # fmt: skip
    Server(config).run(sockets=[listener])
