"""From words to a mask with transformers' own GroundingDINO, SAM 2 and CLIPSeg classes.

The networks are random: what they find means nothing, but that they are loaded, asked and
read rightly can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from farm.errors import InvalidRequest
from models.parts.clipseg import ClipSeg
from models.parts.grounded_sam2 import BOX_MARGIN, THINGS_MAX, GroundedSam2
from models.parts.words import Finder
from tests.models.checkpoints import finders
from tests.models.portraits import portrait

Size = tuple[int, int]


def nothing() -> None:
    """An on_stage for nobody."""


def picture(size: Size = (160, 120)) -> Image.Image:
    """Something drawn on something."""
    image = np.array(portrait(*size))
    image[size[1] // 4 : size[1] // 2, size[0] // 3 : size[0] // 2] = (200, 40, 30)
    return Image.fromarray(image)


class FinderContract:
    """Subclass with :meth:`write` and :meth:`create`; ``least`` is a threshold from 0 to 1."""

    name: ClassVar[str]
    files: ClassVar[str]

    @classmethod
    def write(cls, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def create(cls, folder: Path, least: float | None = None) -> Finder:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        made = tmp_path_factory.mktemp(cls.name)
        cls.write(made)
        return made

    @pytest.fixture(scope="class")
    @classmethod
    def finder(cls, folder: Path) -> Iterator[Finder]:
        made = cls.create(folder, 0.0)
        made.load("cpu")
        yield made
        made.unload()

    @pytest.mark.parametrize("size", [(160, 120), (1, 1), (3, 90), (700, 300)])
    def test_the_mask_is_as_large_as_the_picture(self, finder: Finder, size: Size) -> None:
        mask = finder.mask(picture(size), "the red box", nothing)
        assert mask.shape == (size[1], size[0])
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert mask.any()

    def test_the_same_words_find_the_same(self, finder: Finder, folder: Path) -> None:
        other = self.create(folder, 0.0)
        other.load("cpu")
        first, second, third = (
            one.mask(picture(), "the red box", nothing) for one in (finder, finder, other)
        )
        assert np.array_equal(first, second)
        assert np.array_equal(first, third)

    def test_what_is_not_sure_enough_is_not_found(self, folder: Path) -> None:
        finder = self.create(folder, 1.0)
        finder.load("cpu")
        with pytest.raises(InvalidRequest, match="was not found in the picture") as caught:
            finder.mask(picture(), "a purple elephant", nothing)
        assert [error.field for error in caught.value.errors] == ["prompt"]
        assert "a purple elephant" in str(caught.value)

    @pytest.mark.parametrize(
        "prompt", ["the red box " * 160, "狐狸 🦊", ".", "a cat. a dog. a bird", "<|endoftext|>"]
    )
    def test_any_words_will_do_and_nothing_is_said(
        self, finder: Finder, prompt: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert finder.mask(picture(), prompt, nothing).shape == (120, 160)
        assert capfd.readouterr() == ("", "")

    def test_stages_are_counted(self, finder: Finder) -> None:
        seen: list[int] = []
        finder.mask(picture(), "the red box", lambda: seen.append(1))
        assert len(seen) == finder.stages

    def test_the_weights_are_counted_while_they_are_there(
        self, folder: Path, no_network: None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        made = self.create(folder)
        assert made.name == self.name
        assert made.resident_bytes == 0
        made.load("cpu")
        made.load("cpu")
        on_disk = sum(file.stat().st_size for file in folder.glob(self.files))
        assert 0.6 * on_disk < made.resident_bytes < 1.2 * on_disk
        made.unload()
        made.unload()
        assert made.resident_bytes == 0
        assert capfd.readouterr() == ("", "")


class TestGroundedSam2(FinderContract):
    name = "grounded-sam2"
    files = "*/*.safetensors"

    @classmethod
    def write(cls, folder: Path) -> None:
        finders.write_grounding_dino(folder / "detector")
        finders.write_sam2(folder / "segmenter")

    @classmethod
    def create(cls, folder: Path, least: float | None = None) -> GroundedSam2:
        thresholds = () if least is None else (least,)
        return GroundedSam2(folder / "detector", folder / "segmenter", *thresholds)

    def test_a_mask_stays_in_its_boxes(self, finder: Finder) -> None:
        assert isinstance(finder, GroundedSam2)
        image = picture((400, 300))
        boxes = finder._boxes(image, "the red box")
        assert 0 < len(boxes) <= THINGS_MAX
        inside = np.zeros((300, 400), bool)
        for left, top, right, bottom in boxes:
            across, along = BOX_MARGIN * (right - left), BOX_MARGIN * (bottom - top)
            rows = slice(max(0, int(top - along)), int(bottom + along) + 1)
            inside[rows, max(0, int(left - across)) : int(right + across) + 1] = True
        mask = finder.mask(image, "the red box", nothing)
        assert not mask[~inside].any()
        assert not inside.all()

    def test_a_cancel_between_finding_and_cutting_out_acts(self, finder: Finder) -> None:
        def stop() -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            finder.mask(picture(), "the red box", stop)


class TestClipSeg(FinderContract):
    name = "clipseg"
    files = "*.safetensors"

    @classmethod
    def write(cls, folder: Path) -> None:
        finders.write_clipseg(folder)

    @classmethod
    def create(cls, folder: Path, least: float | None = None) -> ClipSeg:
        thresholds = () if least is None else (least,)
        return ClipSeg(folder, *thresholds)

    def test_a_higher_threshold_finds_less(self, folder: Path) -> None:
        areas = []
        for least in (0.0, 0.3, 0.6):
            finder = self.create(folder, least)
            finder.load("cpu")
            areas.append(int(finder.mask(picture(), "the red box", nothing).astype(bool).sum()))
        assert areas[0] == 160 * 120
        assert areas == sorted(areas, reverse=True)
        assert len(set(areas)) == 3

    def test_other_words_find_something_else(self, folder: Path) -> None:
        finder = self.create(folder)
        finder.load("cpu")
        masks = [finder.mask(picture(), words, nothing) for words in ("a cat", "the blue sky")]
        assert not np.array_equal(*masks)
