"""What the demo asks for besides pictures: music, a film, and a shirt on somebody."""

from __future__ import annotations

import base64
import io
import time
import wave
from pathlib import Path
from typing import Any

import click

from farm.cli.demo import drawing, figures
from farm.cli.demo.client import Client, DemoFailed, png_of

MUSIC: dict[str, Any] = {"prompt": "a calm piano with soft drums", "duration": 5}
FILM: dict[str, Any] = {"prompt": "waves that roll onto a beach at dawn", "duration": 1}


def music_and_film(client: Client, out: Path) -> float:
    """Five seconds of audio and one of video, saved and checked. Credits spent."""
    started = time.monotonic()
    asked = {
        "music": client.post("/v1/audio/generate", MUSIC)["generation_id"],
        "film": client.post("/v1/video/generate", FILM)["generation_id"],
    }
    done = {name: client.wait(name, job_id) for name, job_id in asked.items()}
    seconds = time.monotonic() - started
    sound, film = client.file(done["music"]), client.file(done["film"])
    rate, frames = _sound(sound)
    if abs(frames / rate - MUSIC["duration"]) > 0.1:
        raise DemoFailed(f"music: it plays {frames / rate:.2f} s, not {MUSIC['duration']}.")
    if film[4:8] != b"ftyp" or not 0 < film.find(b"moov") < film.find(b"mdat"):
        raise DemoFailed("film: it is not an MP4 that plays before it is fully loaded.")
    _save(out / "music.wav", sound, f"{frames / rate:g} s at {rate:,} Hz", done["music"], seconds)
    _save(out / "film.mp4", film, f"{FILM['duration']} s", done["film"], seconds)
    return float(done["music"]["credits_used"] + done["film"]["credits_used"])


def try_on(client: Client, out: Path) -> float:
    """A drawn person in a drawn shirt, saved beside both. Credits spent."""
    person, garment = figures.person(), figures.garment()
    body = {
        "person_image": base64.b64encode(drawing.png(person)).decode("ascii"),
        "garment_image": base64.b64encode(drawing.png(garment)).decode("ascii"),
        "category": "upperbody",
    }
    started = time.monotonic()
    job_id = client.post("/v1/virtual-tryon", body)["job_id"]
    job = client.wait("try-on", job_id)
    seconds = time.monotonic() - started
    told = client.get(f"/v1/virtual-tryon/jobs/{job_id}")
    worn = png_of(base64.b64decode(told["result_image_b64"]), job_id)
    if worn.size != person.size:
        raise DemoFailed(f"try-on: the picture has {worn.size} pixels, not {person.size}.")
    path = out / "try-on.png"
    drawing.side_by_side(drawing.side_by_side(person, garment), worn).save(path)
    click.echo(
        f"{path}  person, garment, result, {worn.width}x{worn.height}  by {job['served_by']}  "
        f"{seconds:.1f} s  {job['credits_used']:g} credits"
    )
    return float(job["credits_used"])


def _sound(content: bytes) -> tuple[int, int]:
    """Samples a second, and how many there are for each ear."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            return file.getframerate(), file.getnframes()
    except (wave.Error, EOFError) as error:
        raise DemoFailed(f"music: the file is not a WAV: {error}.") from error


def _save(path: Path, content: bytes, what: str, job: Any, seconds: float) -> None:
    path.write_bytes(content)
    click.echo(
        f"{path}  {what}  {len(content):,} bytes  by {job['served_by']}  "
        f"{seconds:.1f} s  {job['credits_used']:g} credits"
    )
