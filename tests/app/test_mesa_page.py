"""Mesa's SolaraViz drives a NicheModel: its buttons, its plots, and our lattice among them."""

import io

import numpy as np
from conftest import page_script, serving
from mesa_page import CHOSEN
from PIL import Image

from niche_sim.model import NicheModel


def pixels(page, selector):
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot())).convert("RGB")).astype(int)


def test_solaraviz_steps_plays_and_resets(open_page):
    NicheModel(**CHOSEN).step()  # compiles, which would hold up the server: Mesa makes the model while it draws the page
    with serving(*page_script("mesa_page")) as served:
        page = open_page(served.url, width=1400, height=1000)
        page.set_default_timeout(240_000)
        page.wait_for_selector(".niche-stage[data-frame]")
        page.set_default_timeout(20_000)
        page.wait_for_selector("img")
        before = pixels(page, ".niche-canvas")
        for _ in range(3):
            page.click("button:has-text('Step')")
        page.get_by_text("Step: 3").wait_for()
        page.wait_for_timeout(500)
        assert np.abs(pixels(page, ".niche-canvas") - before).max() > 40
        assert "18 h" in page.locator(".niche-caption").inner_text()
        page.click("button:has-text('▶')")
        page.get_by_text("Step: 40").wait_for()
        page.click("button:has-text('Reset')")
        page.get_by_text("Step: 0").wait_for()
        page.close()
