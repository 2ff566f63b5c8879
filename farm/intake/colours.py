"""Colours as files have them, turned into sRGB."""

from __future__ import annotations

import io
import itertools

from PIL import Image, ImageChops, ImageCms

_LEVELS = (0, 36, 73, 109, 146, 182, 219, 255)
_TAGS_AT = 132
_SAME = 2
"""Levels (of 255) by which profiles differ that mean the same and were rounded differently."""


def plain(image: Image.Image) -> Image.Image:
    """The same picture in mode L, LA, RGB, RGBA or CMYK: no palette, 8 bits a sample.

    A transparent colour becomes a channel.
    """
    transparent = "transparency" in image.info
    if image.mode == "I;16":
        # Pillow's own conversion cuts off instead of scaling: nearly everything comes out white.
        return image.point(lambda level: level * (1 / 256)).convert("L")
    if image.mode == "P":
        return image.convert("RGBA" if transparent else "RGB")
    if image.mode in ("1", "L"):
        return image.convert("LA" if transparent else "L")
    if image.mode == "RGB" and transparent:
        return image.convert("RGBA")
    return image


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture in sRGB; ``image`` itself is changed where that saves a copy.

    ``image`` is as :func:`plain` gives it, ``profile`` an ICC profile (ICC.1:2010) from
    somebody's file. One that is damaged, of another colour space than the picture, or sRGB
    already leaves the picture as it is. Colours that sRGB has keep their exact place, others
    go to its edge (relative colorimetric, with black point compensation).
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(_without_programs(profile)))
        space = source.profile.xcolor_space.strip()
        if space == "RGB":
            return _from_rgb(image, source)
        if space == "GRAY" and image.mode in ("L", "LA"):
            return _from_grey(image, source)
        if space == "CMYK" and image.mode == "CMYK":
            return _transform(source, "CMYK", "RGB").apply(image)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        # What the colour library says to a broken profile; the last three come from Pillow's
        # wrapper around it. Browsers show such pictures without it, and so does the farm.
        return image
    return image


def _without_programs(profile: bytes) -> bytes:
    """The profile without its tags D2B0 to D2B3 (ICC.1:2010, multiProcessElementsType).

    They hold a list of steps instead of tables. Every entry of the list may be the same few
    bytes, so that a small profile has hundreds of thousands of steps, each of which is taken
    for each colour: one of 4 MB keeps the colour library busy for minutes. Hardly a profile
    has them, and those that do have tables besides.
    """
    tamed = bytearray(profile)
    count = int.from_bytes(profile[_TAGS_AT - 4 : _TAGS_AT], "big")
    for place in range(_TAGS_AT, min(_TAGS_AT + 12 * count, len(profile)), 12):
        if tamed[place : place + 3] == b"D2B":
            tamed[place] = ord("x")
    return bytes(tamed)


def _from_rgb(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    if image.mode == "CMYK" or _is_srgb(_transform(source, "RGB", "RGB")):
        return image
    mode = "RGBA" if image.mode in ("LA", "RGBA") else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    return _transform(source, mode, mode).apply_in_place(image)


def _from_grey(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    transform = _transform(source, "L", "RGB")
    if image.mode == "L":
        return transform.apply(image)
    colours = transform.apply(image.getchannel("L"))
    colours.putalpha(image.getchannel("A"))
    return colours


def _transform(
    source: ImageCms.ImageCmsProfile, mode: str, mode_out: str
) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        mode_out,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """True when it leaves colours from all over the space where they are.

    Names would not do: dozens of profiles are sRGB and are called something else, and a file
    may call anything sRGB.
    """
    probe = Image.frombytes(
        "RGB", (len(_LEVELS) ** 3, 1), bytes(itertools.chain(*itertools.product(_LEVELS, repeat=3)))
    )
    return max(ImageChops.difference(probe, transform.apply(probe)).tobytes()) <= _SAME
