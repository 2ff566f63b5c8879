"""Audio, video and try-ons as the documentation asks for them, from every tool it names."""

from __future__ import annotations

import base64
import io
import re
import time
import wave
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from tests.clients.conftest import RunningFarm
from tests.clients.tools import TOOLS, Tool
from tests.farm.checks import assert_books_balance

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("clients")]

POLL_S = 0.5
PATIENCE_S = 240.0
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
AUDIO = {"prompt": "a calm piano over soft rain", "duration": 5}
FILM = {"prompt": "waves on a beach", "duration": 1, "resolution": "480p"}
BOAT = {"prompt": "a paper boat", "model": "cogvideo-2b", "num_frames": 9, "steps": 10}


def finished(tool: Tool, url: str, key: str) -> dict[str, Any]:
    """Poll until a job has ended well; its last status."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status = tool.get(url, key)
        assert status["status"] in ("queued", "processing", "completed"), status
        if status["status"] == "completed":
            return status
        time.sleep(POLL_S)
    raise TimeoutError(f"{url} did not end in {PATIENCE_S:g} s")


def assert_plays(path: Path, size: tuple[int, int], frames_per_s: int) -> None:
    """An MP4 of about a second that starts before it is fully loaded."""
    with av.open(str(path)) as film:
        (video,) = film.streams.video
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == size
        assert video.average_rate == frames_per_s
        frames = sum(1 for _ in film.decode(video))
    assert abs(frames / frames_per_s - 1) <= 1.5 / frames_per_s
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_media_call_of_the_documentation(
    farm_up: RunningFarm, tool: Tool, tmp_path: Path
) -> None:
    base, key = farm_up.base_url, farm_up.new_key(f"media-{tool.name}")
    whole = tool is TOOLS[-1]
    document = tool.get(f"{base}/docs/pixelapi/openapi.json", key)
    (tryon,) = document["components"]["schemas"]["TryOn"]["examples"]
    audio = tool.submit(f"{base}/v1/audio/generate", key, AUDIO)
    video = tool.submit(f"{base}/v1/video/generate", key, BOAT)
    film = f"{base}/v1/video/{video['generation_id']}"
    if not whole:
        # One film of this size is enough to look at, and takes the longest by far.
        tool.submit(f"{base}/v1/jobs/{video['generation_id']}/cancel", key, {})
        assert tool.get(film, key)["status"] == "cancelled"
    worn = tool.submit(f"{base}/v1/virtual-tryon", key, tryon)
    audio_id = audio.pop("generation_id")
    assert re.fullmatch(UUID, audio_id)
    assert audio.pop("estimated_seconds") > 0
    assert audio == {
        "status": "queued", "model": "musicgen-small", "duration": 5, "credits_used": 5.0
    }  # fmt: skip
    assert (video["status"], video["credits_used"]) == ("queued", 25.0)
    assert worn == {"job_id": worn["job_id"], "status": "queued", "credits_used": 25.0}

    heard = finished(tool, f"{base}/v1/audio/{audio_id}", key)
    tool.download(heard["output_url"], tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as sound:
        assert abs(sound.getnframes() / sound.getframerate() - 5) < 0.02

    if whole:
        seen = finished(tool, film, key)
        assert seen["processing_ms"] > 0
        tool.download(seen["output_url"], tmp_path / "v.mp4")
        assert_plays(tmp_path / "v.mp4", (720, 480), 8)

    dressed = finished(tool, f"{base}/v1/virtual-tryon/jobs/{worn['job_id']}", key)
    result = Image.open(io.BytesIO(base64.b64decode(dressed["result_image_b64"])))
    person = Image.open(io.BytesIO(base64.b64decode(tryon["person_image"])))
    assert (result.format, result.size) == ("PNG", person.size)

    left = tool.get(f"{base}/v1/account/balance", key)["credits_remaining"]
    assert left == 10_000.0 - 5.0 - (25.0 if whole else 0.0) - 25.0
    assert_books_balance(farm_up.services)
