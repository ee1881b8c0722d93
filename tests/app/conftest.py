"""A server as a process of its own, and a browser in front of it that fails a test for any word on its console.

Without a browser the tests that need one are skipped, and say so. NICHE_SIM_CHROMIUM names one that is not on the path.
"""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAIT_S = 120
PHRASES = ("Traceback", "OUTBOUND", "Error")


def find_chromium() -> str | None:
    """Return the browser to test with, or None."""
    asked = os.environ.get("NICHE_SIM_CHROMIUM")
    if asked:
        return shutil.which(asked) or asked
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@pytest.fixture(scope="session")
def browser():
    """A headless browser that can resolve no name, so that nothing leaves this machine."""
    pytest.importorskip("playwright.sync_api", reason="no browser tests: playwright is not installed")
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        pytest.skip("no browser tests: no Chromium found (install one, or name it in NICHE_SIM_CHROMIUM)")
    flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@dataclass
class Served:
    """A running server: its address as printed, its process, and what it has printed."""

    url: str
    process: subprocess.Popen
    lines: list[str]

    @property
    def port(self) -> int:
        return urlsplit(self.url).port

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


def launch(*arguments: object, folder: Path | None = None, **variables: str) -> Served:
    """Start `python ARGUMENTS`, which serves, and wait until it prints its address."""
    paths = [str(HERE / "offline"), str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"} | variables
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines: list[str] = []
    addresses: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("niche-sim view: http"):
                addresses.put(line.split()[2])
        addresses.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        url = addresses.get(timeout=WAIT_S)
    except queue.Empty:
        url = None
    if url is None:
        process.kill()
        pytest.fail(f"the server did not start: {''.join(lines)}")
    return Served(url, process, lines)


@contextmanager
def serving(*arguments: object, **more: object) -> Iterator[Served]:
    """Serve while the block runs; the server must end in order and have complained of nothing."""
    served = launch(*arguments, **more)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.stop()
    text = "".join(served.lines)
    assert served.process.returncode == 0, text
    assert not [phrase for phrase in PHRASES if phrase in text], text


def page_script(module: str, *setup: str) -> tuple[str, str]:
    """Return the arguments that serve the component `Page` of a module of this folder."""
    stop = "signal.signal(signal.SIGTERM, signal.default_int_handler)"  # as the command line has it
    start = f"server.serve(server.Address(port=0), page={module!r}, browser=False)"
    return "-c", "; ".join(["import signal", stop, "from niche_sim.view import server", *setup, start, "server.leave()"])


@pytest.fixture(scope="module")
def lattices():
    """A server of `lattice_page`."""
    with serving(*page_script("lattice_page")) as served:
        yield served


def watch(page) -> list[str]:
    """Return a list that fills with everything that a page should not do."""
    complaints: list[str] = []

    def hear_console(message) -> None:
        # Solara's own component; see its navigator.vue.
        if message.type in ("error", "warning") and "Failed to evaluate Vue script" not in message.text:
            complaints.append(f"console {message.type}: {message.text}")

    def hear_request(request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            complaints.append(f"request to {request.url}")

    page.on("console", hear_console)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", hear_request)
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url} {request.failure}"))
    page.on("response", lambda answer: answer.status >= 400 and complaints.append(f"{answer.status}: {answer.url}"))
    return complaints


STILL = """document.addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '*, *::before, *::after { transition: none !important; animation: none !important; }';
  document.head.append(style);
});"""  # nothing fades, so that pixels can be compared at once


@pytest.fixture
def open_page(browser):
    """Open addresses, each in a profile of its own; the test fails for what `watch` heard of any of them."""
    contexts, heard = [], []

    def opening(url: str, width: int = 1200, height: int = 900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.add_init_script(STILL)
        page = context.new_page()
        page.set_default_timeout(20_000)
        heard.append(watch(page))
        page.goto(url)
        return page

    yield opening
    complaints = [line for lines in heard for line in lines]
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)
