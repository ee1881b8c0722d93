"""The lattice picture in a browser: what is on the screen, what Python hears."""

import io
import re
import time

import numpy as np
import pytest
from lattice_page import N
from PIL import Image

MARROW, BONE, CELL, STRIPE = (253, 246, 238), (201, 189, 164), (214, 39, 40), (86, 180, 233)
ARROWS = {"ArrowRight": "-10.0 0.0", "ArrowDown": "0.0 10.0"}


@pytest.fixture
def page(lattices, open_page):
    page = open_page(lattices.url)
    wait_frame(page, 0)
    page.wait_for_function("() => document.getAnimations().length === 0")  # Solara fades its pages in
    return page


def stage(page, index=0):
    return page.locator(".niche-stage").nth(index)


def wait_frame(page, number, index=0):
    """Wait until a frame of at least this number is drawn."""
    page.wait_for_function(
        "([i, n]) => Number(document.querySelectorAll('.niche-stage')[i]?.dataset.frame ?? -1) >= n",
        arg=[index, number],
    )


def pixels(page, index=0):
    """Return what is on the screen in the stage, shape (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(stage(page, index).screenshot())).convert("RGB"))


def spot(page, y, x, index=0):
    """Return the place on the page of the middle of a voxel while the whole lattice is shown, px."""
    stage(page, index).scroll_into_view_if_needed()
    box = stage(page, index).bounding_box()
    return box["x"] + box["width"] * (x + 0.5) / N, box["y"] + box["height"] * (y + 0.5) / N


def share(picture, colour):
    """Return the share of pixels of a colour."""
    return np.mean(np.all(np.abs(picture.astype(int) - colour) < 8, axis=-1))


def at(picture, y, x):
    """Return the colour in the middle of a voxel while the whole lattice is shown."""
    height, width = picture.shape[:2]
    return tuple(picture[int((y + 0.5) / N * height), int((x + 0.5) / N * width)].tolist())


def heard(page, text):
    page.wait_for_function("t => document.querySelector('.heard').innerText.includes(t)", arg=text)


def transform(page, index=0):
    """Return zoom, left and top."""
    style = page.locator(".niche-canvas").nth(index).get_attribute("style")
    left, top, zoom = re.search(r"translate\((-?[\d.e-]+)%, (-?[\d.e-]+)%\) scale\(([\d.]+)\)", style).groups()
    return float(zoom), float(left) / 100, float(top) / 100


def settle(page):
    """Let the browser draw what it has been told."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_every_voxel_is_drawn_crisply_in_its_place(page):
    picture = pixels(page)
    assert [at(picture, *voxel) for voxel in [(0, 5), (32, 10), (10, 20), (40, 0)]] == [MARROW, BONE, CELL, STRIPE]
    assert share(picture, CELL) == pytest.approx(1 / N**2, rel=0.25)
    known = sum(share(picture, colour) for colour in (MARROW, BONE, CELL, STRIPE))
    assert known > 0.95  # the rest is scale bar and buttons: no colour in between


def test_the_wheel_zooms_about_the_pointer_and_linked_pictures_follow(page):
    page.mouse.move(*spot(page, 10, 20))
    page.mouse.wheel(0, -400)
    settle(page)
    zoom, left, top = transform(page)
    assert zoom > 1.5
    assert (20.5 / N * zoom + left, 10.5 / N * zoom + top) == pytest.approx((20.5 / N, 10.5 / N), abs=1e-3)
    assert transform(page, 1) == transform(page)
    page.mouse.move(5, 5)
    settle(page)
    assert at(pixels(page), 10, 20) == CELL
    assert share(pixels(page), CELL) == pytest.approx(zoom**2 / N**2, rel=0.2)
    page.mouse.move(*spot(page, 10, 20))
    page.mouse.wheel(0, 4000)
    settle(page)
    assert transform(page)[0] < zoom


def test_dragging_moves_the_lattice_and_no_further_than_its_edge(page):
    page.mouse.move(*spot(page, 25, 25))
    page.mouse.wheel(0, -500)
    settle(page)
    zoom, left, top = transform(page)
    x, y = spot(page, 25, 25)
    width = stage(page).bounding_box()["width"]
    page.mouse.down()
    page.mouse.move(x + 40, y + 20, steps=4)
    settle(page)
    assert transform(page) == pytest.approx((zoom, left + 40 / width, top + 20 / width), abs=2e-3)
    page.mouse.move(x + 3000, y + 3000, steps=4)
    settle(page)
    assert transform(page)[1:] == (0, 0)
    page.mouse.up()
    assert "picked" not in page.locator(".heard").inner_text()


def test_keys_buttons_and_double_click_zoom(page):
    stage(page).focus()
    for keys, larger in (("++", True), ("-", True), ("0", False)):
        for key in keys:
            page.keyboard.press(key)
        settle(page)
        assert (transform(page)[0] > 1) == larger, keys
    page.get_by_role("button", name="Zoom in").first.click()
    settle(page)
    zoom, left, _ = transform(page)
    stage(page).focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert zoom == pytest.approx(1.5)
    assert transform(page)[1] == pytest.approx(left - 0.1)
    page.mouse.dblclick(*spot(page, 40, 10))
    settle(page)
    assert transform(page) == (1, 0, 0)


def test_the_pointer_shows_the_words_of_python_in_both_arms(page):
    page.mouse.move(*spot(page, 10, 20))
    page.wait_for_function("() => document.querySelectorAll('.niche-tip').length === 2")
    assert page.locator(".niche-tip").all_inner_texts() == ["in voxel 10, 20\nnothing lives here"] * 2
    assert page.locator(".niche-line").count() == 4
    page.mouse.move(5, 5)
    heard(page, "left")
    assert page.locator(".niche-tip, .niche-line").count() == 0


def test_many_moves_are_few_events_and_the_last_one_always(page):
    page.evaluate("() => { window.sent = 0; const send = WebSocket.prototype.send; "
                  "WebSocket.prototype.send = function (...a) { window.sent += 1; return send.apply(this, a); }; }")
    start = time.monotonic()
    for x in range(5, 45):
        page.mouse.move(*spot(page, 20, x))
    taken = time.monotonic() - start
    page.wait_for_function("() => document.querySelector('.niche-tip')?.innerText.includes('voxel 20, 44')")
    assert page.evaluate("() => window.sent") <= taken / 0.08 + 3


def test_a_click_picks_a_voxel_also_when_zoomed(page):
    page.mouse.click(*spot(page, 10, 20))
    heard(page, "picked 10 20")
    page.mouse.move(*spot(page, 30, 40))
    page.mouse.wheel(0, -300)
    settle(page)
    page.mouse.click(*spot(page, 30, 40))
    heard(page, "picked 30 40")


def test_a_volume_turns_by_dragging_and_by_keys(page):
    x, y = spot(page, 25, 25, 2)
    before = page.evaluate("() => document.querySelectorAll('.niche-canvas')[2].style.transform")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y - 10)
    heard(page, "turned -10.0 -5.0")
    page.mouse.up()
    for key, words in ARROWS.items():
        stage(page, 2).focus()
        page.keyboard.press(key)
        heard(page, f"turned {words}")
    assert page.evaluate("() => document.querySelectorAll('.niche-canvas')[2].style.transform") == before


def test_frames_arrive_while_the_zoom_stays_and_nothing_flickers(page):
    page.mouse.move(*spot(page, 10, 20))
    page.mouse.wheel(0, -200)
    settle(page)
    seen = transform(page)
    page.evaluate("""() => {
      const canvas = document.querySelector('.niche-canvas');
      const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
      window.blank = 0; window.looked = 0;
      const look = () => {
        probe.globalCompositeOperation = 'copy';
        probe.drawImage(canvas, 82, 42, 1, 1, 0, 0, 1, 1);
        const pixel = probe.getImageData(0, 0, 1, 1).data; // of the cell, which no stripe covers
        window.looked += 1;
        if (pixel[0] !== 214 || pixel[3] !== 255) window.blank += 1;
        requestAnimationFrame(look);
      };
      look();
    }""")
    page.get_by_role("button", name="play").click()
    wait_frame(page, 15)
    assert page.evaluate("() => window.looked") > 3
    assert page.evaluate("() => window.blank") == 0
    page.get_by_role("button", name="stop").click()
    frames, number = (int(stage(page).get_attribute(f"data-frame{s}")) for s in ("s", ""))
    assert 5 < frames <= number + 1
    assert transform(page) == seen
    assert stage(page).get_attribute("aria-label").startswith("control, day ")


def test_two_tabs_are_two_sessions(page, open_page, lattices):
    other = open_page(lattices.url)
    wait_frame(other, 0)
    for _ in range(2):
        page.get_by_role("button", name="next frame").click()
    page.mouse.click(*spot(page, 10, 20))
    wait_frame(page, 2)
    heard(page, "picked 10 20")
    assert stage(other).get_attribute("data-frame") == "0"
    assert "picked" not in other.locator(".heard").inner_text()


def test_scale_bar_colour_bar_and_legend_say_what_they_mean(page):
    bar, width = page.locator(".niche-scale").first, stage(page).bounding_box()["width"]
    assert bar.bounding_box()["width"] == pytest.approx(float(bar.inner_text().split()[0]) / (10 * N) * width, abs=1)
    colours = page.get_by_role("img", name="Colour bar: zoledronate on bone, 0 to 1 fmol/um²").first
    assert colours.inner_text().split("\n") == ["zoledronate on bone (fmol/um²)", "0", "0.5", "1"]
    assert page.locator(".niche-legend").first.inner_text().split("\n") == ["marrow", "bone", "cycling DTC"]
    page.get_by_role("button", name="Zoom in").first.click()
    settle(page)
    um = float(bar.inner_text().split()[0])
    assert bar.bounding_box()["width"] == pytest.approx(um / (10 * N) * width * 1.5, abs=1)


def test_a_phone_shows_all_and_fingers_pick_and_pinch(open_page, lattices):
    page = open_page(lattices.url, 390, 800, has_touch=True, is_mobile=True)
    wait_frame(page, 0)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.touchscreen.tap(*spot(page, 10, 20))
    heard(page, "picked 10 20")
    page.wait_for_function("() => document.querySelector('.niche-tip')?.innerText.includes('in voxel 10, 20')")
    x, y = spot(page, 25, 25)
    fingers = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 10), ("touchMove", 20), ("touchMove", 30), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x - apart, "y": y}, {"x": x + apart, "y": y}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settle(page)
    assert transform(page)[0] == pytest.approx(3, rel=0.05)
