"""What the API makes plays in a browser, from the links that it gives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from tests.clients.conftest import RunningFarm
from tests.clients.pictures import Pictures
from tests.clients.test_documented_media import AUDIO, FILM, assert_plays, finished
from tests.clients.tools import TOOLS
from tests.programs import program

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)
PAGE = """<!doctype html><title>media</title>
<audio src="{audio}" preload="auto"></audio><video src="{video}" preload="auto" muted></video>
<script>
window.ready = {{}};
for (const each of document.querySelectorAll("audio, video")) {{
  each.addEventListener("canplaythrough", () => {{ window.ready[each.localName] = true; }});
  each.addEventListener("error", () => {{ window.failed = each.error.message; }});
}}
</script>"""


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium without a window, with a profile of its own."""
    options = Options()
    options.binary_location = program("chromium", "chromium")
    driver = program("chromedriver", "chromium-driver")
    with tempfile.TemporaryDirectory(prefix="farm-browser-") as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        chrome = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield chrome
        finally:
            chrome.quit()


def test_audio_and_video_play_in_a_browser(
    farm_up: RunningFarm, pictures: Pictures, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    base, key = farm_up.base_url, farm_up.new_key("browser")
    headers = {"Authorization": f"Bearer {key}"}
    links = {}
    for kind, body in (("audio", AUDIO), ("video", FILM)):
        answer = requests.post(f"{base}/v1/{kind}/generate", json=body, headers=headers, timeout=30)
        url = f"{base}/v1/{kind}/{answer.json()['generation_id']}"
        links[kind] = finished(TOOLS[2], url, key)["output_url"]
    TOOLS[2].download(links["video"], tmp_path / "film.mp4")
    assert_plays(tmp_path / "film.mp4", (832, 480), 16)
    escaped = {kind: link.replace("&", "&amp;") for kind, link in links.items()}
    Path(pictures.folder / "media.html").write_text(PAGE.format(**escaped), encoding="utf-8")
    browser.get(pictures.url("media.html"))
    WebDriverWait(browser, 60).until(
        lambda page: page.execute_script(
            "return window.failed || (window.ready.audio && window.ready.video)"
        )
    )
    assert browser.execute_script("return window.failed") is None
    size = browser.execute_script(
        "const film = document.querySelector('video');"
        "return [film.videoWidth, film.videoHeight, film.duration]"
    )
    assert size[:2] == [832, 480]
    assert abs(size[2] - 1) < 0.1
    heard_s = browser.execute_script("return document.querySelector('audio').duration")
    assert abs(heard_s - 5) < 0.05
