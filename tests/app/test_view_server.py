"""The server as a user starts it: where it listens, whom it answers, what it serves, how it ends."""

import base64
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import psutil
import pytest
from conftest import HERE, page_script, serving

from niche_sim.errors import InputError
from niche_sim.view import server

VIEW = ("-m", "niche_sim", "view", "niche_3d", "--no-browser", "--port", "0")


def get(served, path="/", **headers):
    """Return status and body of a plain request."""
    connection = http.client.HTTPConnection(urlsplit(served.url).hostname, served.port, timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def open_websocket(served, origin):
    """Return the status of the answer to an opened WebSocket."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    return get(served, "/jupyter/api/kernels/a-kernel/channels?session_id=a-page", Origin=origin, **headers)[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`niche-sim view` in a folder with a secret, in an environment that asks for every interface."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("secret.txt", "public/secret.txt", "assets/secret.txt", "static/secret.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("SECRET")
    hostile = {"HOST": "0.0.0.0", "SOLARA_HOST": "0.0.0.0", "SOLARA_APP": "solara.website", "SOLARA_MODE": "development"}
    with serving(*VIEW, folder=folder, **hostile) as served:
        yield served


def test_it_listens_on_loopback_alone_whatever_the_environment_says(served):
    places = [c.laddr for c in psutil.Process(served.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [tuple(place) for place in places] == [("127.0.0.1", served.port)]
    assert served.url == f"http://127.0.0.1:{served.port}/"
    assert get(served)[0] == 200


def test_an_empty_host_in_the_environment_is_not_every_interface():
    with serving(*page_script("lattice_page"), HOST="") as served:
        places = [c.laddr.ip for c in psutil.Process(served.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert places == ["127.0.0.1"]
        assert served.stop(signal.SIGINT) == 0


def test_other_hosts_and_pages_of_other_origins_are_refused(served):
    assert get(served, Host=f"localhost:{served.port}")[0] == 200
    assert get(served, Host=f"rebound.example:{served.port}")[0] == 403
    assert open_websocket(served, "http://rebound.example") == 403
    assert open_websocket(served, f"http://localhost:{served.port}") == 403
    assert open_websocket(served, served.url.rstrip("/")) == 101


@pytest.mark.parametrize("path", [
    "/secret.txt", "/static/secret.txt", "/static/public/secret.txt", "/static/assets/secret.txt", "/static/../secret.txt",
    "/static/..%2fsecret.txt", "/static/assets/..%2f..%2fsecret.txt", "/_solara/cdn/..%2f..%2fsecret.txt",
    "/_solara/cdn//etc/passwd", "/static//etc/passwd", "/jupyter/nbextensions/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
    "/resourcez", "/_solara/cdn/katex@0.16.9/dist/katex.min.js", "/_solara/cdn/../../../../pyvenv.cfg",
])  # fmt: skip
def test_no_file_but_the_page_s_own_is_served_and_none_is_fetched(served, path):
    status, body = get(served, path)
    assert status == 404
    assert "SECRET" not in body and "root:" not in body


def test_a_token_is_needed_taken_and_checked(browser):
    with serving(*VIEW, "--token", "auto") as served:
        bare, token = served.url.split("?token=")
        assert len(token) >= 32
        for path in ("/", "/static/assets/style.css", "/readyz", f"/?token={token[:-1]}"):
            assert get(served, path)[0] == 403, path
        assert open_websocket(served, bare.rstrip("/")) == 403
        page = browser.new_page()
        page.goto(served.url)
        wait_for_name(page)
        assert page.url == bare
        assert page.evaluate("() => document.cookie").count(token) == 0
        page.context.close()


def own_address():
    """Return an address of this machine that others could reach, or another of loopback where it has none."""
    found = [a.address for addresses in psutil.net_if_addrs().values() for a in addresses if a.family == socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), "127.0.0.2")


def test_another_address_is_served_alone_and_with_the_token():
    host = own_address()
    with serving(*VIEW, "--host", host, "--token", "a-token-of-mine") as served:
        places = [c.laddr.ip for c in psutil.Process(served.process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert places == [host]
        assert served.url == f"http://{host}:{served.port}/?token=a-token-of-mine"
        assert get(served)[0] == 403
        assert get(served, "/?token=a-token-of-mine")[0] == 303


def test_a_page_of_another_origin_cannot_open_it(browser, served, lattices):
    page = browser.new_page()
    page.goto(lattices.url)
    page.wait_for_selector(".niche-stage")
    target = f"127.0.0.1:{served.port}"
    attempt = """target => new Promise(done => {
      const socket = new WebSocket(`ws://${target}/jupyter/api/kernels/a/channels?session_id=b`);
      socket.onopen = () => done('open');
      socket.onerror = () => done('refused');
    })"""
    page.goto("about:blank")  # without the policy of our own pages, as a stranger's page is
    assert page.evaluate(attempt, target) == "refused"
    page.goto(served.url)
    assert page.evaluate(attempt, target) == "open"
    page.context.close()


def test_what_a_tab_held_comes_back_when_it_closes_or_is_lost(browser):
    with serving(*page_script("heavy_page", "server.LOST_TAB = '1s'")) as served:
        memory = psutil.Process(served.process.pid).memory_info
        before = memory().rss
        for lost in (False, True):
            page = browser.new_page()
            page.goto(served.url)
            page.wait_for_selector(".holds")
            if lost:
                page.evaluate("() => { navigator.sendBeacon = () => true; }")  # as when a laptop falls asleep
            assert memory().rss - before > 190 << 20
            page.context.close()
            wait_until(lambda: memory().rss - before < 100 << 20, "the memory of the tab came back")
        assert served.lines.count("session ended\n") == 2


def wait_until(done, what):
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.05)


def wait_for_name(page):
    """Wait until the application runs: it puts the name of its target first in the title of the window."""
    page.wait_for_function("() => document.title.startsWith('niche_3d')")


def test_scripts_that_are_not_installed_are_told_instead_of_a_white_page():
    lacking = "import solara.server.settings as s, pathlib; s.assets.proxy_cache_dir = pathlib.Path('nowhere')"
    done = subprocess.run([sys.executable, *page_script("heavy_page", lacking)], capture_output=True, text=True, cwd=HERE)
    assert re.search(r"InputError: the viewer's files are missing.*solara-vuetify-app.*niche-sim\[view\]", done.stderr)
    assert done.stdout == ""


def test_it_ends_while_pages_are_open(browser):
    with serving(*VIEW) as served:
        page = browser.new_page()
        page.goto(served.url)
        wait_for_name(page)
        assert served.stop(signal.SIGTERM) == 0
        page.context.close()


def test_it_ends_while_frames_are_sent_and_a_thread_hangs(browser):
    hang = "import threading, time; threading.Thread(target=time.sleep, args=(300,)).start()"
    with serving(*page_script("lattice_page", hang)) as served:
        page = browser.new_page()
        page.goto(served.url)
        page.get_by_role("button", name="play").click()
        page.wait_for_function("() => Number(document.querySelector('.niche-stage').dataset.frame) > 3")
        assert served.stop(signal.SIGINT) == 0
        page.context.close()


@pytest.mark.parametrize("more, words", [
    (["--host", "0.0.0.0"], "--token auto"),
    (["--host", ""], "--host"),
    (["--host", "no.such.host.invalid"], "no such address"),
    (["--token", "short"], "--token"),
    (["--port", "70000"], "--port"),
    (["--set", "nonsense=1"], "nonsense"),
    (["--seed", "-1"], "--seed"),
])  # fmt: skip
def test_bad_options_are_told_before_anything_starts(more, words):
    done = subprocess.run([sys.executable, *VIEW[:4], "--no-browser", *more], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
    assert "http" not in done.stdout


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: in use.*--port 0"):
            server.open_socket(server.Address(port=port))


@pytest.mark.parametrize("host, needs", [(None, False), ("localhost", False), ("127.0.0.2", False), ("::1", False),
                                         ("0.0.0.0", True), ("::", True), ("192.0.2.1", True)])  # fmt: skip
def test_another_address_than_loopback_needs_a_token(host, needs):
    if needs:
        for refused in (lambda: server.choose_address(host, 0, None), lambda: server.open_socket(server.Address(host, 0))):
            with pytest.raises(InputError, match="--token auto"):
                refused()
    else:
        assert server.choose_address(host, 0, None).host == (host or "127.0.0.1")
    assert server.choose_address(host, 0, "12345678").token == "12345678"


def test_hosts_are_those_of_the_address_and_every_one_of_the_machine_only_if_asked():
    names = ("127.0.0.1", "localhost", "[::1]", "lab", "192.0.2.1")
    assert server.list_hosts("lab", "192.0.2.1", 9) == {f"{name}:9" for name in names}
    assert {"127.0.0.1", "127.0.0.1:80"} <= server.list_hosts("127.0.0.1", "127.0.0.1", 80)
    everywhere = server.list_hosts("0", "0.0.0.0", 9)
    own = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET}
    assert {f"{address}:9" for address in own} <= everywhere
    assert "rebound.example:9" not in everywhere


@pytest.mark.parametrize("lacking", ["solara", "ipyvue"])
def test_without_the_extra_the_remedy_is_told(lacking, monkeypatch):
    find = server.importlib.util.find_spec
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None if name == lacking else find(name))
    with pytest.raises(InputError, match=rf'needs {lacking}: pip install "niche-sim\[view\]"'):
        server.check_installed()


def test_libraries_of_the_generation_that_draws_nothing_are_refused(monkeypatch):
    monkeypatch.setattr(server.metadata, "version", lambda name: "3.1.0")
    with pytest.raises(InputError, match="ipyvue below 3, and 3.1.0"):
        server.check_installed()
