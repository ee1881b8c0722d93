"""Who may talk to the viewer: an ASGI wrapper that checks the Host and Origin headers and, where one is set, the token.

A page that is served may run any code of this user, as in every notebook server. So nothing is answered to a request that
names another host (DNS rebinding), to a page of another origin (cross-site WebSocket), or, with a token, to one without it.
"""

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing is loaded from elsewhere, and no other page may frame this one. Vue compiles its templates there (unsafe-eval).
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws://{host}; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_NO_TOKEN = "This viewer needs its token: open the address that `niche-sim view` printed, with ?token= at its end.\n"


class Guard:
    """Let pass what the viewer's own page asks, refuse everything else with 403.

    Parameters
    ----------
    app : ASGI application
    hosts : iterable of str
        Values of the Host header that are answered, such as "127.0.0.1:8765".
    token : str, optional
        Without it no token is needed.
    cookie : str
        Name of the cookie that holds the token; different for every port, because cookies of all ports are sent to each.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None, cookie: str) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = _header(scope, b"host").lower()
        refusal = self._check_place(scope, host)
        if refusal is None and self._brings_token(scope):
            await self._welcome(scope, receive, send)
            return
        if refusal is None and not self._holds_token(scope):
            refusal = _NO_TOKEN
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send, host))

    def _check_place(self, scope: Scope, host: str) -> str | None:
        if host not in self._hosts:
            return "This viewer does not answer to that host name; open the address that `niche-sim view` printed.\n"
        origin = _header(scope, b"origin").lower()
        if origin == f"http://{host}" or (not origin and scope["type"] == "http"):
            return None
        return "This viewer answers its own page only, not one of another origin.\n"

    def _brings_token(self, scope: Scope) -> bool:
        if self._token is None or scope["type"] != "http" or scope["method"] != "GET":
            return False
        return any(name == "token" and self._is_token(value) for name, value in _query(scope))

    def _holds_token(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        try:
            morsel = SimpleCookie(_header(scope, b"cookie")).get(self._cookie)
        except CookieError:
            return False
        return morsel is not None and self._is_token(morsel.value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), (self._token or "").encode())

    async def _welcome(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the token in a cookie and go to the same address without it, so that it stays in no history or bookmark."""
        rest = urlencode([(name, value) for name, value in _query(scope) if name != "token"])
        path = "/" + scope["path"].lstrip("/\\")  # "//elsewhere" would lead to another host
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303, {"Cache-Control": "no-store"})
        response.headers["Referrer-Policy"] = "no-referrer"
        response.set_cookie(self._cookie, self._token or "", path="/", httponly=True, samesite="strict")
        await response(scope, receive, send)


def _header(scope: Scope, name: bytes) -> str:
    """Return a header, or "" where it is missing or given twice (two Host headers mean one for each reader)."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


async def _refuse(reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # its opening; closed before it is accepted, the server answers 403
        await send({"type": "websocket.close", "code": 1008, "reason": reason.strip()})
    else:
        await PlainTextResponse(reason, 403)(scope, receive, send)


def _with_headers(send: Send, host: str) -> Send:
    headers = [
        (b"content-security-policy", _POLICY.format(host=host).encode("latin-1")),
        (b"x-frame-options", b"DENY"), (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]  # fmt: skip

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return send_with
