"""The pictures of ``farm demo``: a drawn photo to work on, and before and after side by side."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIDE_PX = 768
_SCALE = 2
"""Drawn this much larger and scaled down, which makes edges as soft as a lens does."""
_GAP_PX = 24
_CHECK_PX = 16


def product_photo(side: int = SIDE_PX, seed: int = 7) -> Image.Image:
    """A blue bottle with a label on a table, a red ball beside it, as a photo would show them.

    Lit from the left, with shadows, grain, and a table and a wall that are not one colour.
    """
    big = side * _SCALE
    photo = _room(big)
    photo = _with_shadow(photo, (0.36, 0.80, 0.68, 0.90))
    photo = _with_shadow(photo, (0.74, 0.80, 0.94, 0.88))
    _bottle(photo)
    _ball(photo, centre=(0.82, 0.76), radius=0.075)
    photo = photo.resize((side, side), Image.Resampling.LANCZOS)
    return _with_grain(photo, seed)


def side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    """Both pictures at the height of the larger, a gap between them, checks where it is clear."""
    height = max(before.height, after.height)
    panes = [_on_checks(_as_high(picture, height)) for picture in (before, after)]
    width = panes[0].width + _GAP_PX + panes[1].width
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(panes[0], (0, 0))
    sheet.paste(panes[1], (panes[0].width + _GAP_PX, 0))
    return sheet


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _as_high(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    width = round(picture.width * height / picture.height)
    # The pixels stay pixels: what an upscaler adds is to be seen.
    return picture.resize((width, height), Image.Resampling.NEAREST)


def _on_checks(picture: Image.Image) -> Image.Image:
    if "A" not in picture.getbands():
        return picture.convert("RGB")
    sheet = Image.new("RGB", picture.size, (235, 235, 235))
    draw = ImageDraw.Draw(sheet)
    for top in range(0, picture.height, _CHECK_PX):
        for left in range(top // _CHECK_PX % 2 * _CHECK_PX, picture.width, 2 * _CHECK_PX):
            draw.rectangle((left, top, left + _CHECK_PX - 1, top + _CHECK_PX - 1), (200, 200, 200))
    sheet.paste(picture, (0, 0), picture)
    return sheet


def _room(side: int) -> Image.Image:
    """A wall that darkens to the right, and a wooden table in front of it."""
    light = Image.linear_gradient("L").rotate(90).resize((side, side))
    wall = Image.composite(
        Image.new("RGB", (side, side), (196, 190, 178)),
        Image.new("RGB", (side, side), (226, 221, 211)),
        light,
    )
    horizon = round(side * 0.62)
    table = Image.new("RGB", (side, side - horizon), (150, 108, 72))
    draw = ImageDraw.Draw(table)
    planks = random.Random(3)
    for line in range(0, table.height, side // 96):
        tone = planks.randint(-14, 14)
        colour = (150 + tone, 108 + tone, 72 + tone)
        draw.rectangle((0, line, side, line + side // 96), colour)
    wall.paste(table.filter(ImageFilter.GaussianBlur(side / 400)), (0, horizon))
    return wall


def _with_shadow(photo: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    side = photo.width
    shadow = Image.new("L", photo.size, 0)
    left, top, right, bottom = (round(part * side) for part in box)
    ImageDraw.Draw(shadow).ellipse((left, top, right, bottom), fill=120)
    shadow = shadow.filter(ImageFilter.GaussianBlur(side / 60))
    return Image.composite(Image.new("RGB", photo.size, (40, 28, 18)), photo, shadow)


def _bottle(photo: Image.Image) -> None:
    side = photo.width
    shape = Image.new("L", photo.size, 0)
    draw = ImageDraw.Draw(shape)

    def box(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
        return round(left * side), round(top * side), round(right * side), round(bottom * side)

    draw.rounded_rectangle(box(0.36, 0.36, 0.62, 0.86), radius=side // 18, fill=255)
    draw.rectangle(box(0.445, 0.20, 0.535, 0.40), fill=255)
    light = Image.linear_gradient("L").rotate(90).resize(photo.size)
    glass = Image.composite(
        Image.new("RGB", photo.size, (16, 52, 110)),
        Image.new("RGB", photo.size, (44, 128, 208)),
        _across(light, side, 0.36, 0.62),
    )
    paint = ImageDraw.Draw(glass)
    paint.rectangle(box(0.36, 0.52, 0.62, 0.72), fill=(240, 234, 216))
    paint.rectangle(box(0.41, 0.57, 0.57, 0.59), fill=(150, 40, 44))
    paint.rectangle(box(0.41, 0.62, 0.54, 0.63), fill=(90, 90, 96))
    paint.rectangle(box(0.41, 0.66, 0.56, 0.67), fill=(90, 90, 96))
    paint.rectangle(box(0.445, 0.20, 0.535, 0.27), fill=(28, 28, 32))
    shine = Image.new("L", photo.size, 0)
    ImageDraw.Draw(shine).rounded_rectangle(
        box(0.385, 0.41, 0.405, 0.50), radius=side // 90, fill=170
    )
    shine = shine.filter(ImageFilter.GaussianBlur(side / 300))
    glass = Image.composite(Image.new("RGB", photo.size, "white"), glass, shine)
    photo.paste(glass, (0, 0), shape)


def _across(light: Image.Image, side: int, left: float, right: float) -> Image.Image:
    """The gradient squeezed between two positions of the width; its ends go on beyond them."""
    start, end = round(left * side), round(right * side)
    mask = Image.new("L", (side, side), 255)
    mask.paste(0, (0, 0, start, side))
    mask.paste(light.resize((end - start, side)), (start, 0))
    return mask


def _ball(photo: Image.Image, centre: tuple[float, float], radius: float) -> None:
    side = photo.width
    x, y, r = (round(part * side) for part in (*centre, radius))
    shape = Image.new("L", photo.size, 0)
    ImageDraw.Draw(shape).ellipse((x - r, y - r, x + r, y + r), fill=255)
    shade = Image.radial_gradient("L").resize((3 * r, 3 * r))
    dark = Image.new("L", photo.size, 255)
    # The light comes from the upper left, so that is where the middle of the gradient lies.
    dark.paste(shade, (x - r - r // 2 - r // 3, y - r - r // 2 - r // 3))
    ball = Image.composite(
        Image.new("RGB", photo.size, (112, 12, 16)),
        Image.new("RGB", photo.size, (232, 58, 52)),
        dark,
    )
    photo.paste(ball, (0, 0), shape)


def _with_grain(photo: Image.Image, seed: int) -> Image.Image:
    grain = Image.frombytes("L", photo.size, random.Random(seed).randbytes(photo.width**2))
    grain = grain.filter(ImageFilter.GaussianBlur(0.7)).point(lambda value: value // 12)
    tint = Image.merge("RGB", (grain, grain, grain))
    return ImageChops.subtract(photo, tint, scale=1, offset=10)
