"""What a worker child says of results: nothing where nobody asked, never nothing by mistake."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from PIL import Image

from farm.config import Settings
from farm.errors import EngineFault, SetupError
from farm.types import Artifact
from models.base import Judge
from tasks.child import Child, ChildSlot
from tasks.drain import Drain
from tasks.registration import build
from tests.models import classifier


def picture(colour: str) -> Artifact:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return Artifact(buffer.getvalue(), "image/png", "images", "png")


def opened(settings: Settings, **changes: str) -> ChildSlot:
    """A process's slot with these settings."""
    changed = settings.model_copy(update=changes)
    celery, _ = build(changed)
    return ChildSlot(changed, celery, Drain())


def test_without_a_setting_nobody_looks(child: Child) -> None:
    assert child.judge is None
    assert child.refusal(picture("red")) is None


def test_the_configured_classifier_is_loaded_once_and_asked(
    settings: Settings, tmp_path: Path
) -> None:
    folder = classifier.write(tmp_path / "classifier")
    slot = opened(settings, result_moderation=str(folder))
    child = slot.open()
    assert child.refusal(picture("red")) == "nsfw"
    (folder / "model.safetensors").unlink()  # it is not read again
    assert child.refusal(picture("green")) is None
    judge = child.judge
    slot.close()
    assert judge is not None
    with pytest.raises(EngineFault):
        judge.refusal(picture("green"))


@pytest.mark.parametrize(("refuse", "where"), [("nsfw=0.8", "nowhere"), ("gore=0.5", "classifier")])
def test_a_classifier_that_cannot_be_used_stops_every_result(
    settings: Settings, tmp_path: Path, refuse: str, where: str
) -> None:
    classifier.write(tmp_path / "classifier")
    slot = opened(
        settings, result_moderation=str(tmp_path / where), result_moderation_refuse=refuse
    )
    for _ in range(2):
        with pytest.raises(SetupError, match=where):
            slot.open().refusal(picture("green"))
    slot.close()


class Silent:
    """A judge that was never loaded, and counts how often it was."""

    def __init__(self) -> None:
        self.loads = 0

    def load(self, device: str) -> None:
        self.loads += 1

    def refusal(self, artifact: Artifact) -> str | None:
        return "gore"

    def unload(self) -> None:
        """Nothing to give back."""


def test_a_judge_is_loaded_before_it_is_asked(child: Child) -> None:
    silent = Silent()
    judge: Judge = silent
    asked = dataclasses.replace(child, judge=judge)
    assert silent.loads == 0
    assert asked.refusal(picture("green")) == "gore"
    assert silent.loads == 1
