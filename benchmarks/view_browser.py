"""Pictures a second that arrive in a browser: `python benchmarks/view_browser.py [FILE.png]`.

Plays the application in a headless Chromium as a visitor does, one arm, one tick a picture. With FILE.png it plays the main
experiment to its fourteenth month instead and saves what is on the screen (docs/view.png).
"""

import re
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from view_frames import SCENES, name_machine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "app"))
from conftest import find_chromium

PLAY_S = 20.0
LONG_MS = 600_000


def serve(target, settings):
    """Start the viewer; return its process and its address."""
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "niche_sim", "view", target, "--no-browser", "--port", "0", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, next(re.findall(r"http://\S+", line)[0] for line in process.stdout if "http://" in line)


def count(page: Page) -> int:
    """Return how many pictures the first arm has shown."""
    return int(page.evaluate("Number(document.querySelector('.niche-stage').dataset.frames)"))


def open_page(browser, address) -> Page:
    """Return the page with its first pictures on it."""
    page = browser.new_page(viewport={"width": 1400, "height": 1180})
    page.set_default_timeout(LONG_MS)
    page.goto(address)
    page.wait_for_selector(".niche-stage[data-frame]")
    return page


def choose(page: Page, place: str, text: str) -> None:
    """Choose an entry of a list."""
    page.locator(place).first.click()
    page.locator(".menuable__content__active .v-list-item", has_text=text).first.click()
    page.wait_for_timeout(500)


def play(browser, name: str) -> float:
    """Return the pictures a second of one patch."""
    experiment, size, spin_up = SCENES[name]
    settings = {
        "scene.size": size, "time.spin_up": spin_up, "population.dormant_dtc": "200", "population.cycling_dtc": "60",
        "record.pictures": "false", "record.ledgers": "false",
    }  # fmt: skip
    process, address = serve(experiment, settings)
    try:
        page = open_page(browser, address)
        if page.locator(".niche-caption").count() > 1:
            choose(page, ".niche-shown", "control")  # leaves one arm
        choose(page, ".niche-speed", "6 h")
        page.click(".niche-play")
        page.wait_for_timeout(2_000)
        began, before = time.perf_counter(), count(page)
        page.wait_for_timeout(1_000 * PLAY_S)
        return (count(page) - before) / (time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


def save_picture(browser, path: str) -> None:
    """Save the screen in the fourteenth month of the main experiment."""
    process, address = serve("e00_zoledronate_niche", {})
    try:
        page = open_page(browser, address)
        choose(page, ".niche-overlay", "drug on bone surface")
        choose(page, ".niche-speed", "4 weeks")
        for _ in range(15):
            before = page.locator(".niche-clock").inner_text()
            page.click(".niche-step")
            page.wait_for_function("t => document.querySelector('.niche-clock').innerText !== t", arg=before)
        page.wait_for_timeout(2_000)
        page.screenshot(path=path)
    finally:
        process.terminate()
        process.wait()


def main():
    """Print a line a patch, or save a picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        if len(sys.argv) > 1:
            save_picture(browser, sys.argv[1])
            return
        print(name_machine().replace(", one core", ", the browser beside it"))
        for name in SCENES:
            print(f"{name:13} {play(browser, name):6.1f} pictures/s in the browser", flush=True)


if __name__ == "__main__":
    main()
