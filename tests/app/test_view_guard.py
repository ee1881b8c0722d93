"""Who is let in: the Host and Origin headers and the token, request by request."""

import pytest

from niche_sim.view.guard import Guard

TOKEN = "a-token-of-the-test"
HERE = {"host": "127.0.0.1:8765"}
PAGE = HERE | {"origin": "http://127.0.0.1:8765"}
COOKIE = {"cookie": f"other=1; niche_sim_8765={TOKEN}"}


async def inside(scope, receive, send):
    """The application behind the guard."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the page"})


def ask(headers, *, token=None, kind="http", query="", path="/", method="GET"):
    """Return the messages that a request gets."""
    sent = []
    pairs = headers.items() if isinstance(headers, dict) else headers
    scope = {
        "type": kind, "method": method, "path": path, "query_string": query.encode(), "root_path": "", "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in pairs], "server": ("127.0.0.1", 8765),
    }  # fmt: skip

    async def receive():
        return {"type": f"{kind}.connect" if kind == "websocket" else "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    guard = Guard(inside, ["127.0.0.1:8765", "localhost:8765"], token, "niche_sim_8765")
    running = guard(scope, receive, send)
    with pytest.raises(StopIteration):  # at its end; nothing here waits, so it needs no event loop (the browser's runs)
        running.send(None)
    return sent


def answer(*arguments, **more):
    """Return the status and the headers of the answer; for a WebSocket whether it was accepted."""
    first = ask(*arguments, **more)[0]
    if first["type"].startswith("websocket"):
        return first["type"] == "websocket.accept"
    return first["status"], {name.decode(): value.decode() for name, value in first["headers"]}


@pytest.mark.parametrize("headers, status", [
    (HERE, 200),
    ({"host": "LOCALHOST:8765"}, 200),
    (PAGE, 200),
    ({"host": "127.0.0.1"}, 403),
    ({"host": "127.0.0.1:8766"}, 403),
    ({"host": "rebound.example:8765"}, 403),
    ({"host": "127.0.0.1:8765.rebound.example"}, 403),
    ({}, 403),
    ([("host", "127.0.0.1:8765"), ("host", "rebound.example")], 403),
    (HERE | {"origin": "http://rebound.example"}, 403),
    (HERE | {"origin": "http://127.0.0.1:8888"}, 403),
    (HERE | {"origin": "null"}, 403),
])  # fmt: skip
def test_only_this_host_and_this_origin_are_answered(headers, status):
    assert answer(headers)[0] == status


@pytest.mark.parametrize("headers, accepted", [
    (PAGE, True),
    (HERE, False),
    (HERE | {"origin": "http://rebound.example"}, False),
    (HERE | {"origin": "http://localhost:8765"}, False),
    (HERE | {"origin": "https://127.0.0.1:8765"}, False),
    ({"host": "rebound.example:8765", "origin": "http://rebound.example:8765"}, False),
])  # fmt: skip
def test_no_other_page_opens_a_websocket(headers, accepted):
    assert answer(headers, kind="websocket") is accepted


@pytest.mark.parametrize("cookie", [
    None, "niche_sim_8765=wrong", f"niche_sim_8766={TOKEN}", "niche_sim_8765=", ';;="', "niche_sim_8765=ä",
])  # fmt: skip
def test_with_a_token_nothing_is_answered_without_it(cookie):
    headers = {} if cookie is None else {"cookie": cookie}
    assert answer(HERE | headers, token=TOKEN)[0] == 403
    assert answer(PAGE | headers, token=TOKEN, kind="websocket") is False
    told = ask(HERE | headers, token=TOKEN)[1]["body"].decode()
    assert "?token=" in told and TOKEN not in told


def test_with_its_cookie_everything_is():
    assert answer(HERE | COOKIE, token=TOKEN)[0] == 200
    assert answer(PAGE | COOKIE, token=TOKEN, kind="websocket") is True
    assert answer(PAGE | COOKIE | {"origin": "http://rebound.example"}, token=TOKEN, kind="websocket") is False


def test_the_first_address_leaves_the_token_in_a_cookie_and_not_in_the_address():
    status, headers = answer(HERE, token=TOKEN, query=f"a=1&token={TOKEN}")
    assert (status, headers["location"]) == (303, "/?a=1")
    assert headers["set-cookie"].startswith(f"niche_sim_8765={TOKEN};")
    assert {"httponly", "samesite=strict", "path=/"} <= set(headers["set-cookie"].lower().split("; "))
    assert answer(HERE, token=TOKEN, query=f"token={TOKEN}", path="//rebound.example/")[1]["location"] == "/rebound.example/"
    for query in ("token=wrong", "token=", f"token={TOKEN}x", f"token={TOKEN.upper()}"):
        assert answer(HERE, token=TOKEN, query=query)[0] == 403, query
    assert answer({"host": "rebound.example"}, token=TOKEN, query=f"token={TOKEN}")[0] == 403
    assert answer(PAGE, token=TOKEN, query=f"token={TOKEN}", kind="websocket") is False


def test_the_page_may_load_from_here_only_and_be_framed_by_nobody():
    headers = answer(HERE)[1]
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:8765"
    assert not [word for words in policy.values() for word in words.split() if "*" in word or word.startswith("http")]
