"""Which engine serves which catalogue id. An engine's module is imported on first use."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from farm.errors import ExtraMissing, SetupError
from models.base import (
    TINY,
    Card,
    Engine,
    EngineSetup,
    HubSource,
    Interrupts,
    Judge,
    UpstreamSetup,
)

_ENGINES = {
    "sdxl": "models.engines.sdxl:SdxlEngine",
    "flux-schnell": "models.engines.flux:FluxEngine",
    "flux-dev": "models.engines.flux:FluxEngine",
    "flux-2": "models.engines.flux_2:Flux2Engine",
    "flux-kontext": "models.engines.flux_kontext:FluxKontextEngine",
    "remove-background": "models.engines.birefnet:BirefnetEngine",
    "replace-background": "models.engines.sdxl_inpaint:SceneEngine",
    "restore-face": "models.engines.face_restorer:FaceRestorerEngine",
    "remove-object": "models.engines.lama:LamaEngine",
    "upscale-4x": "models.engines.realesrgan:RealEsrganEngine",
    "musicgen-small": "models.engines.musicgen:MusicgenEngine",
    "wan2.1": "models.engines.wan:WanEngine",
    "cogvideo-2b": "models.engines.cogvideox:CogVideoXEngine",
    "virtual-tryon": "models.engines.catvton:CatvtonEngine",
    "wan-i2v": "models.engines.wan_i2v:WanImageEngine",
    "shap-e": "models.engines.shap_e:ShapEEngine",
    **dict.fromkeys(
        (
            "gemini-2.5-flash-image",
            "gemini-3.1-flash-image-preview",
            "gemini-3-pro-image-preview",
            "gpt-image-2",
            "gpt-image-1.5",
            "flux-pro",
            "seedream",
            "gemini-imagen-4",
            "veo",
            "veo-3-fast",
        ),
        "models.engines.upstream:UpstreamEngine",
    ),
}
# What serves the tiny profile, where that is another engine than the one of the real weights.
_TWINS = {
    "remove-background": "models.engines.grabcut:GrabcutEngine",
    "restore-face": "models.engines.denoise:DenoiseEngine",
    "remove-object": "models.engines.telea:TeleaEngine",
    "upscale-4x": "models.engines.lanczos:LanczosEngine",
    "musicgen-small": "models.engines.synth:SynthEngine",
    "wan2.1": "models.engines.animate:AnimateEngine",
    "cogvideo-2b": "models.engines.animate:AnimateEngine",
    "virtual-tryon": "models.engines.overlay:OverlayEngine",
    "wan-i2v": "models.engines.animate:AnimateEngine",
    "shap-e": "models.engines.solids:SolidsEngine",
}


def engine_ids() -> tuple[str, ...]:
    """Every catalogue id that has an engine."""
    return tuple(_ENGINES)


def create(
    card: Card,
    weights: str,
    *,
    cache: Path | None = None,
    interrupts: Interrupts = (),
    upstream: UpstreamSetup | None = None,
) -> Engine:
    """The engine of a model, not yet loaded.

    ``weights`` is ``hub``, ``tiny`` or a folder; ``cache`` a folder for the tiny checkpoints
    and fetched files (left out: one under the home folder); ``interrupts`` exceptions that
    must pass through the engine unchanged; ``upstream`` the service that runs it, if one does.

    Raises:
        SetupError: no engine has the card's id.
        ExtraMissing: a package of the ``worker`` extra is not installed.
    """
    target = (_TWINS.get(card.id) if weights == TINY else None) or _ENGINES.get(card.id)
    if target is None:
        near = difflib.get_close_matches(card.id, _ENGINES, n=3, cutoff=0.4) or sorted(_ENGINES)
        raise SetupError(f"No engine is called {card.id!r}. Known: {', '.join(near)}.")
    module_name, _, class_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "farm", "models"):
            raise  # a slip of ours, not of the installation
        extra = "upstream" if upstream else "worker"
        raise ExtraMissing(
            f"The engine {card.id} needs the Python package {package!r}: "
            f"install the {extra} extra with `pip install 'media-farm[{extra}]'`."
        ) from error
    setup = setup_of(card, weights, cache, interrupts, upstream)
    return cast(Engine, getattr(module, class_name)(setup))


def create_judge(
    where: str,
    refused: Mapping[str, float],
    source: HubSource | None,
    *,
    interrupts: Interrupts = (),
) -> Judge:
    """What looks at results, not yet loaded; see :class:`models.judge.PictureJudge`."""
    from models.judge import PictureJudge

    return PictureJudge(where, refused, source, interrupts)


def setup_of(
    card: Card,
    weights: str,
    cache: Path | None = None,
    interrupts: Interrupts = (),
    upstream: UpstreamSetup | None = None,
) -> EngineSetup:
    """What a card's engine is made from; see :func:`create`."""
    return EngineSetup(
        model_id=card.id,
        weights=weights,
        sources=card.weights,
        options=card.options,
        served_by=upstream.served_by if upstream else card.served_by(weights),
        cache=cache or default_cache(),
        interrupts=interrupts,
        upstream=upstream,
    )


def default_cache() -> Path:
    """Where tiny checkpoints and fetched files are kept when nobody says otherwise."""
    return Path.home() / ".cache" / "media-farm"
