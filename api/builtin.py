"""What a storefront's document tells of the built-in checkpoints, where those are what paints."""

from __future__ import annotations

from farm.config import Settings
from farm.offers import Offers

_RANDOM = frozenset({"flux-2-tiny", "flux-kontext-tiny"})
"""Makers with random weights: their pictures are noise."""
_KNOWS = (
    "This farm runs its built-in weights, not the models' own: what `served_by` calls tiny is "
    "painted by a small checkpoint that was trained on drawn scenes. It understands circles, "
    "squares, triangles, stars, rings, crosses, hearts and stripes, whether they are small or "
    "large and where, on a plain, two-coloured or gradient background, and a mug, bottle, box, "
    "vase or ball on a table, each in red, orange, yellow, green, turquoise, blue, purple, pink, "
    "brown, black, white or grey. A film is a camera that moves over such a picture. Other words "
    "mean nothing to it."
)


def told(settings: Settings, offers: Offers, storefront: str) -> str | None:
    """A few sentences on what the pictures show; None where real weights, or others, make
    them."""
    makers = {
        maker
        for card in offers.sold(storefront)
        for maker in offers.served_by(storefront, card, settings.weights).split(", ")
        if "-tiny" in maker
    }
    if settings.weights != "tiny" or not makers - _RANDOM:
        return None
    noise = ", ".join(sorted(makers & _RANDOM))
    return f"{_KNOWS} Still of random weights, which paint noise: {noise}." if noise else _KNOWS
