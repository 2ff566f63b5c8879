"""Exact sizes: models paint in multiples, customers ask for any size."""

from __future__ import annotations

from PIL import Image


def padded(pixels: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``pixels``."""
    return -(-pixels // multiple) * multiple


def crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle ``width`` x ``height`` pixels of an image that is at least that large."""
    left = (image.width - width) // 2
    top = (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
