"""The application in a browser, as a visitor drives it."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import serving
from PIL import Image

import niche_sim as ns
from niche_sim.simulation import run_experiment
from niche_sim.store import hash_run, write_result
from niche_sim.view.palette import BONE, CELLS

LIVELY = Path(__file__).parent.parent / "lively.yaml"
SETTINGS = ("--set", "time.spin_up=5 d", "--set", "time.length=30 d")
VIEW = ("-m", "niche_sim", "view", "--no-browser", "--port", "0")


@pytest.fixture(scope="module")
def served():
    with serving(*VIEW, LIVELY, *SETTINGS) as served:
        yield served


@pytest.fixture
def page(served, open_page):
    """The application at time 0, its pictures on the screen."""
    page = open_page(served.url, width=1400, height=1000)
    ready(page)
    return page


def ready(page, arms=2):
    page.set_default_timeout(240_000)  # the first page may wait for the compiler
    page.wait_for_function("n => document.querySelectorAll('.niche-stage[data-frame]').length >= n", arg=arms)
    page.wait_for_function("() => document.getAnimations().length === 0")  # Solara fades its pages in
    page.set_default_timeout(20_000)


def clock(page) -> str:
    return page.locator(".niche-clock").inner_text().split(" of ")[0]


def wait_clock(page, text):
    page.wait_for_function("t => document.querySelector('.niche-clock')?.innerText.startsWith(t + ' of')", arg=text)


def days(page) -> float:
    number, unit = clock(page).split()
    return float(number) / {"d": 1, "h": 24}[unit]


def pixels(page, index=0):
    picture = page.locator(".niche-canvas").nth(index).screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def soon(page, condition):
    """Assert that something comes true, within seconds: the browser shows what it is sent a little later."""
    for _ in range(100):
        if condition():
            return
        page.wait_for_timeout(200)
    raise AssertionError("it did not come true")


def same(page, picture, index=0):
    """Wait until the picture on the screen is this one."""
    soon(page, lambda: np.abs(pixels(page, index) - picture).max() == 0)


def share(picture, colour):
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return float(np.mean(np.all(np.abs(picture - wanted) < 14, axis=-1)))


def step(page, times=1):
    for _ in range(times):
        before = clock(page)
        page.click(".niche-step")
        page.wait_for_function("t => !document.querySelector('.niche-clock').innerText.startsWith(t + ' of')", arg=before)


def choose(page, selector, text):
    """Choose an entry of a list."""
    page.locator(selector).click()
    page.locator(".menuable__content__active .v-list-item", has_text=re.compile(f"^{re.escape(text)}$")).click()


def open_panel(page, name):
    page.click(f".open-{name}")
    page.wait_for_selector(f".open-{name}-body")


def marks(page, kind):
    return page.locator(f".niche-strip svg[data-kind={kind}]").count()


def arms(page):
    return page.locator(".niche-caption b").all_inner_texts()


def test_two_arms_are_shown_as_twins(page):
    assert arms(page) == ["untreated", "treated"] and clock(page) == "0 d"
    one, two = pixels(page, 0), pixels(page, 1)
    assert share(one, BONE) > 0.03 and share(one, CELLS["dormant"].colour) > 0.0005
    assert np.abs(one - two).mean() < 0.5
    legend = page.locator(".niche-legend").first.inner_text()
    assert "dormant DTC" in legend and "bone" in legend
    assert page.title().endswith("niche_sim")


def test_play_and_pause(page):
    before = pixels(page)
    page.click(".niche-play")
    page.wait_for_function("() => Number(document.querySelector('.niche-stage').dataset.frames) > 6")
    page.click(".niche-play")
    page.wait_for_selector(".niche-play .mdi-play")
    page.wait_for_timeout(400)
    stopped = clock(page)
    assert days(page) >= 4
    soon(page, lambda: np.abs(pixels(page) - before).max() > 50)
    page.wait_for_timeout(600)
    assert clock(page) == stopped


def test_it_stops_at_the_end_and_can_be_wound_back(page):
    page.click(".niche-play")
    wait_clock(page, "30 d")
    page.wait_for_selector(".niche-play .mdi-play")
    last = pixels(page)
    page.click(".niche-reset")
    wait_clock(page, "0 d")
    page.focus(".niche-timeline [role=slider]")
    page.keyboard.press("End")
    wait_clock(page, "30 d")
    page.wait_for_function("() => !document.querySelector('.niche-busy')")
    same(page, last)


def test_step_back_and_speed(page):
    step(page, 2)
    assert clock(page) == "2 d"
    before = pixels(page)
    choose(page, ".v-input:has(.niche-speed), .niche-speed", "1 week")
    step(page)
    assert clock(page) == "9 d"
    page.click(".niche-back")
    wait_clock(page, "2 d")
    same(page, before)


def test_overlay_with_a_colour_bar(page):
    step(page)
    before = pixels(page)
    choose(page, ".v-input:has(.niche-overlay), .niche-overlay", "niche suitability")
    page.wait_for_selector(".niche-bar")
    assert page.locator(".niche-bar-label").first.inner_text() == "niche suitability (0 to 1)"
    assert len(page.locator(".niche-bar-ticks").first.locator("span").all()) >= 2
    soon(page, lambda: np.abs(pixels(page) - before).mean() > 5)
    choose(page, ".v-input:has(.niche-overlay), .niche-overlay", "tissue and cells")
    page.wait_for_selector(".niche-bar", state="detached")


def find_cell(page):
    """Return the place on the page of a dormant tumour cell of the first arm."""
    stage = page.locator(".niche-stage").first
    stage.scroll_into_view_if_needed()
    box, picture = stage.bounding_box(), pixels(page)
    wanted = [int(CELLS["dormant"].colour[k : k + 2], 16) for k in (1, 3, 5)]
    y, x = np.argwhere(np.all(np.abs(picture - wanted) < 14, axis=-1))[40]
    return box["x"] + x * box["width"] / picture.shape[1], box["y"] + y * box["height"] / picture.shape[0]


def test_hover_tells_and_click_follows(page):
    x, y = find_cell(page)
    page.mouse.move(x, y)
    page.locator(".niche-tip", has_text=re.compile("niche suitability|bone|sinusoid")).first.wait_for()
    page.mouse.click(x, y)
    page.wait_for_selector(".niche-life")
    assert "was there from the start" in page.locator(".niche-life").inner_text()
    before = page.locator(".niche-life").inner_text()
    step(page, 3)
    assert page.locator(".niche-life").inner_text().split("\n")[0] == before.split("\n")[0]
    page.click(".niche-life button")
    page.wait_for_selector(".niche-life", state="detached")


def test_a_dose_now(page):
    step(page, 2)
    open_panel(page, "dose")
    page.click(".open-dose-body button:has-text('untreated')")
    page.locator(".open-dose-body", has_text="untreated changes from 2 d on.").wait_for()
    doses = marks(page, "dose")
    page.click("button:has-text('Give now')")
    page.wait_for_function("n => document.querySelectorAll('.niche-strip svg[data-kind=dose]').length === n", arg=doses + 1)
    assert arms(page) == ["untreated", "treated"]
    page.fill(".open-dose-body input[type=text] >> nth=1", "4 mmol")
    page.keyboard.press("Tab")
    page.click("button:has-text('Give now')")
    page.wait_for_selector(".open-dose-body .v-messages__message")
    assert "mmol" in page.locator(".open-dose-body .v-messages__message").first.inner_text()


def test_rewind_change_and_compare_the_two_futures(page):
    step(page, 8)
    seen = pixels(page, 1)
    for _ in range(6):
        page.click(".niche-back")
    wait_clock(page, "2 d")
    open_panel(page, "mechanisms")
    page.click(".open-mechanisms-body .v-input--switch:has([aria-label=division]) .v-input--selection-controls__input")
    page.wait_for_function("() => document.querySelectorAll('.niche-caption b')[1]?.innerText === 'treated_2'")
    assert arms(page) == ["treated", "treated_2"] and marks(page, "branch") == 1
    soon(page, lambda: np.abs(pixels(page, 0) - pixels(page, 1)).max() == 0)
    step(page, 6)
    same(page, seen)
    soon(page, lambda: np.abs(pixels(page, 0) - pixels(page, 1)).max() > 50)


def test_branch_by_hand_and_show_other_arms(page):
    step(page, 2)
    open_panel(page, "branches")
    page.click("button:has-text('Branch untreated')")
    page.wait_for_function("() => document.querySelectorAll('.niche-caption b')[1]?.innerText === 'untreated_2'")
    assert arms(page) == ["untreated", "untreated_2"]


def test_a_parameter_is_checked_in_place(page):
    open_panel(page, "parameters")
    body = page.locator(".open-parameters-body")
    body.locator("input").first.fill("maximum_rate")
    page.keyboard.press("Enter")
    field = body.locator("input").nth(1)
    field.wait_for()
    before = field.input_value()
    field.fill("fast")
    page.keyboard.press("Tab")
    body.locator("button:has-text('Apply')").click()
    body.locator(".v-messages__message", has_text="fast").wait_for()
    assert page.locator(".niche-trouble").count() == 0
    field.fill("0.2 /d")
    page.keyboard.press("Tab")
    body.locator("button:has-text('Apply')").click()
    body.locator(".v-messages__message", has_text="fast").wait_for(state="detached")
    assert before != "0.2"


def test_exports_reproduce_what_is_shown(page, tmp_path):
    """The YAML runs to the hash of the zipped result, which is that of `run`."""
    step(page, 3)
    open_panel(page, "exports")
    files = {}
    for label in ("Picture", "Data", "Experiment"):
        with page.expect_download() as waiting:
            page.click(f".open-exports-body button:has-text('{label}')")
        files[label] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(files[label])
    image = Image.open(files["Picture"])
    assert image.size[0] > 2 * 1000 < image.size[1] * 2
    assert share(np.asarray(image.convert("RGB")).astype(int), BONE) > 0.01
    zipfile.ZipFile(files["Data"]).extractall(tmp_path)
    result = ns.load(tmp_path / "lively")
    experiment = ns.load_experiment(str(files["Experiment"]))
    assert experiment.length_h == 72.0
    assert ns.hash_result(tmp_path / "lively") == hash_run(run_experiment(experiment)) == result.manifest["result_hash"]


def test_two_visitors_do_not_disturb_each_other(served, page, open_page):
    other = open_page(served.url, width=1400, height=1000)
    ready(other)
    step(page, 3)
    assert (clock(page), clock(other)) == ("3 d", "0 d")
    page.context.close()
    step(other)
    assert clock(other) == "1 d"


def test_a_scenario(page):
    open_panel(page, "scenarios")
    page.click(".niche-preset:has-text('One postmenopausal niche')")
    page.click(".niche-presets label:has-text('Quick look')")
    page.click(".niche-presets button:has-text('Open')")
    page.set_default_timeout(120_000)
    page.wait_for_function("() => document.title.startsWith('One postmenopausal niche')")
    ready(page)
    assert arms(page) == ["control", "zoledronate"]


def test_a_narrow_screen(served, open_page):
    page = open_page(served.url, width=390, height=800)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator(".niche-stage").nth(k).bounding_box() for k in range(2)]
    assert boxes[0]["width"] > 300 and boxes[1]["y"] > boxes[0]["y"] + 200


def test_a_result_is_replayed_and_gone_on_from(open_page, tmp_path):
    experiment = ns.load_experiment(str(LIVELY), sets={"time.spin_up": "5 d", "time.length": "30 d"})
    mapping = experiment.resolved()
    mapping["record"] = dict(mapping["record"]) | {"pictures": ["0 h", "5 d", "10 d", "30 d"]}
    experiment = ns.build_experiment(mapping)
    write_result(tmp_path / "out", run_experiment(experiment), experiment)
    with serving(*VIEW, tmp_path / "out") as served:
        page = open_page(served.url, width=1400, height=1000)
        ready(page)
        assert "replay" in page.locator(".niche-clock").inner_text()
        step(page, 2)
        assert clock(page) == "10 d"
        recorded = pixels(page)
        page.click(".niche-simulate")
        page.wait_for_function("() => !document.querySelector('.niche-clock').innerText.includes('replay')")
        assert clock(page) == "10 d"
        same(page, recorded)
        step(page)
        assert clock(page) == "11 d"
        page.close()


def test_three_dimensions(open_page, tmp_path):
    mapping = ns.load_experiment("niche_3d").resolved()
    mapping["scene"] = dict(mapping["scene"]) | {"size": ["480 um", "480 um", "480 um"]}
    mapping["time"] = {"length": "20 d", "tick": "6 h", "spin_up": "1 d"}
    mapping["record"] = dict(mapping["record"]) | {"pictures": ["20 d"]}
    mapping["population"] = {"dormant_dtc": 6, "cycling_dtc": 0}
    path = tmp_path / "small.yaml"
    from niche_sim.store import write_yaml

    path.write_text(write_yaml(mapping))
    with serving(*VIEW, path) as served:
        page = open_page(served.url, width=1400, height=1000)
        ready(page)
        before = pixels(page)
        page.focus(".niche-view [role=slider]")
        page.keyboard.press("Home")
        page.wait_for_function("() => /plane 0/.test(document.querySelector('.niche-view').innerText)")
        soon(page, lambda: np.abs(pixels(page) - before).max() > 20)
        flat = pixels(page)
        page.click(".niche-view label:has-text('3-D')")
        page.wait_for_function("() => /planes 0 to/.test(document.querySelector('.niche-view').innerText)")
        soon(page, lambda: np.abs(pixels(page) - flat).mean() > 10)
        solid = pixels(page)
        box = page.locator(".niche-stage").first.bounding_box()
        page.mouse.move(box["x"] + 150, box["y"] + 150)
        page.mouse.down()
        page.mouse.move(box["x"] + 250, box["y"] + 170, steps=4)
        page.mouse.up()
        soon(page, lambda: np.abs(pixels(page) - solid).mean() > 2)
        page.close()
