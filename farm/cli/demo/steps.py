"""What the demo asks the farm to make: a picture of each model, then work on a product photo."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from farm.cli.demo import drawing
from farm.cli.demo.client import Client, DemoFailed

MODELS = ("sdxl", "flux-schnell")
PROMPT = "a lighthouse on a cliff at dusk, oil painting"
SIDE_PX = 1024
SCENE = "a marble kitchen counter in morning light"
OBJECT = "the red ball"
_SMALL_PX = 192


@dataclass(frozen=True, slots=True)
class Edit:
    """One operation: its path, its fields besides the picture, and what becomes of the size."""

    name: str
    path: str
    fields: dict[str, str]
    scale: int = 1


ERASE = Edit("erase", "/v1/image/remove-object", {"prompt": OBJECT})
CUT_OUT = Edit("cut-out", "/v1/image/remove-background", {})
NEW_SCENE = Edit("scene", "/v1/image/replace-background", {"prompt": SCENE})
UPSCALE = Edit("upscale", "/v1/image/upscale", {"scale": "4"}, scale=4)


def generate(client: Client, out: Path) -> float:
    """Submit one job for each model, wait for both, save and check the files. Credits spent."""
    jobs = {}
    for model in MODELS:
        body = {"model": model, "prompt": PROMPT, "width": SIDE_PX, "height": SIDE_PX}
        job = client.post("/v1/image/generate", body)
        jobs[model] = (job["generation_id"], time.monotonic())
        click.echo(f"{model}: submitted as {job['generation_id']} for {job['credits_used']:g}")
    spent = 0.0
    for model, (job_id, submitted) in jobs.items():
        job = client.wait(model, job_id)
        seconds = time.monotonic() - submitted
        content, picture = client.picture(job)
        _check_size(model, picture, (SIDE_PX, SIDE_PX))
        path = out / f"{model}.png"
        path.write_bytes(content)
        spent += job["credits_used"]
        click.echo(
            f"{path}  {_size(picture)}  {len(content):,} bytes  seed {job['seed']}  "
            f"{seconds:.1f} s  {job['credits_used']:g} credits"
        )
    return spent


def work_on_a_photo(client: Client, out: Path) -> float:
    """Erase, cut out, replace, upscale; save each before and after. Credits spent."""
    photo = drawing.product_photo()
    path = out / "photo.png"
    path.write_bytes(drawing.png(photo))
    click.echo(f"{path}  a product photo, drawn here, to work on")
    clean, erased = _edit(client, out, ERASE, photo)
    spent = erased
    for operation, source in (
        (CUT_OUT, clean),
        (NEW_SCENE, clean),
        (UPSCALE, clean.resize((_SMALL_PX, _SMALL_PX), Image.Resampling.LANCZOS)),
    ):
        spent += _edit(client, out, operation, source)[1]
    return spent


def _edit(client: Client, out: Path, edit: Edit, source: Image.Image) -> tuple[Image.Image, float]:
    """One operation on one picture, saved beside its source; the result and its credits."""
    started = time.monotonic()
    submitted = client.upload(edit.path, drawing.png(source), edit.fields)
    job = client.wait(edit.name, submitted["generation_id"])
    seconds = time.monotonic() - started
    _, result = client.picture(job)
    _check_size(edit.name, result, (source.width * edit.scale, source.height * edit.scale))
    path = out / f"{edit.name}.png"
    drawing.side_by_side(source, result).save(path)
    click.echo(
        f"{path}  before and after, {_size(source)} to {_size(result)}  by {job['served_by']}  "
        f"{seconds:.1f} s  {job['credits_used']:g} credits"
    )
    return result, job["credits_used"]


def _check_size(name: str, picture: Image.Image, wanted: tuple[int, int]) -> None:
    if picture.size != wanted:
        raise DemoFailed(f"{name}: the picture is {_size(picture)}, not {wanted[0]}x{wanted[1]}.")


def _size(picture: Image.Image) -> str:
    return f"{picture.width}x{picture.height}"
