"""What every engine that edits a picture promises, whichever weights it runs on.

A subclass says how to make the engine and what a job of it looks like, and inherits every
test; what the operation means is for the subclass's own tests.
"""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.errors import Cancelled, EngineFault, InvalidRequest, OutOfMemory
from farm.types import Artifact, RunRequest
from models.base import Engine

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Usual = tuple[Pixels, list[tuple[int, int]]]

ODD_SIZES: tuple[Size, ...] = ((1, 1), (2, 3), (512, 1), (1, 512))


class TimeIsUp(Exception):
    """Stands for the caller's time limit, which is no error of the farm's."""


def ignore(step: int, steps: int) -> None:
    """An on_step for a job that nobody watches."""


def tiff(picture: Pixels | Image.Image) -> bytes:
    """A picture as intake stores it: uncompressed TIFF."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, format="TIFF", compression=None)
    return buffer.getvalue()


def decoded(artifact: Artifact) -> Pixels:
    """The picture of an artifact, height x width x channels, in the mode it has."""
    form = artifact.media_type.removeprefix("image/")
    with Image.open(io.BytesIO(artifact.data), formats=[form]) as image:
        return np.asarray(image)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An RGB picture in another mode; RGBA is clear in its left upper corner."""
    out = image.convert(mode)
    if mode == "RGBA":
        alpha = np.full((image.height, image.width), 255, np.uint8)
        alpha[: image.height // 8, : image.width // 8] = 0
        out.putalpha(Image.fromarray(alpha))
    return out


class EditEngineContract:
    """Subclass with :meth:`create`, :attr:`operation` and, where they differ, the rest."""

    model_id: ClassVar[str]
    operation: ClassVar[str]
    served_by: ClassVar[str]
    params: ClassVar[Mapping[str, Any]] = {}
    bad_params: ClassVar[tuple[Mapping[str, Any], ...]] = ({"strength": 1},)
    """Changes to ``params`` that are refused; None takes a parameter out."""
    size: ClassVar[Size] = (160, 120)
    scale: ClassVar[int] = 1
    """How much larger the result is."""
    makes_alpha: ClassVar[bool] = False
    """True where the result has an alpha channel whatever the picture has."""
    keeps_alpha: ClassVar[bool] = True
    """False where the result is opaque whatever the picture has."""
    offers_formats: ClassVar[bool] = True
    """True where a job may say in what format it wants its result."""
    needs_content: ClassVar[bool] = False
    """True where a picture of ODD_SIZES cannot hold what the job is about: InvalidRequest."""
    text: ClassVar[Mapping[str, str]] = {}
    """What the file and its facts say beside model, job and size (a seed as text)."""
    device: ClassVar[str] = "cpu"

    @classmethod
    def create(cls, cache: Path) -> Engine:
        """A new engine, not loaded, whose interrupts are (TimeIsUp,)."""
        raise NotImplementedError

    @classmethod
    def picture(cls, size: Size) -> Image.Image:
        """An RGB picture that the operation has something to do with: here, a red disc."""
        width, height = size
        y, x = np.mgrid[0:height, 0:width]
        rng = np.random.default_rng(width * 10_000 + height)
        inside = np.hypot(x - width / 2, y - height / 2) < 0.3 * min(size)
        colours = np.where(inside[..., None], (190, 50, 40), (170, 190, 200))
        noisy = colours + rng.normal(0, 3, colours.shape)
        return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))

    @classmethod
    def inputs(cls, image: Image.Image) -> dict[str, bytes]:
        """The job's pictures."""
        return {"image": tiff(image)}

    @classmethod
    def request(cls, *, size: Size | None = None, mode: str = "RGB", **changes: Any) -> RunRequest:
        """A job; a change to None takes the parameter out."""
        image = in_mode(cls.picture(size or cls.size), mode)
        params = {n: v for n, v in {**cls.params, **changes}.items() if v is not None}
        inputs = cls.inputs(image)
        return RunRequest(uuid.uuid4(), 1, cls.model_id, cls.operation, params, inputs)

    @classmethod
    def result_size(cls, size: Size) -> Size:
        """The width and height of what a job makes of a picture of this size."""
        return size[0] * cls.scale, size[1] * cls.scale

    @classmethod
    def run(cls, engine: Engine, request: RunRequest) -> Pixels:
        """The picture that a job gives."""
        [artifact] = engine.run(request, ignore)
        return decoded(artifact)

    @pytest.fixture(scope="class")
    @classmethod
    def editor(cls, tiny_cache: Path) -> Iterator[Engine]:
        """The contract's engine, loaded once for its class."""
        made = cls.create(tiny_cache)
        made.load(cls.device)
        yield made
        made.unload()

    @pytest.fixture(scope="class")
    @classmethod
    def usual(cls, editor: Engine) -> Usual:
        """What the usual job gives, and the steps that it reported."""
        seen: list[tuple[int, int]] = []
        [artifact] = editor.run(cls.request(), lambda step, steps: seen.append((step, steps)))
        return decoded(artifact), seen

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
    def test_the_artifact_is_a_png_that_says_what_made_it(self, editor: Engine, mode: str) -> None:
        request = self.request(mode=mode)
        [artifact] = editor.run(request, ignore)
        kind = (artifact.media_type, artifact.folder, artifact.extension)
        assert kind == ("image/png", "images", "png")
        width, height = self.result_size(self.size)
        assert (artifact.facts["width"], artifact.facts["height"]) == (width, height)
        assert {name: str(artifact.facts[name]) for name in self.text} == self.text
        with Image.open(io.BytesIO(artifact.data)) as image:
            image.verify()
        with Image.open(io.BytesIO(artifact.data)) as image:
            image.load()
            assert image.size == (width, height)
            clear = self.makes_alpha or (self.keeps_alpha and mode == "RGBA")
            assert image.mode == ("RGBA" if clear else "RGB")
            expected = {"model": self.model_id, "job_id": str(request.job_id), **self.text}
            assert image.info == expected

    def test_the_file_has_the_format_that_was_asked_for(self, editor: Engine) -> None:
        if not self.offers_formats:
            with pytest.raises(InvalidRequest, match="output_format"):
                editor.run(self.request(output_format="png"), ignore)
            return
        [artifact] = editor.run(self.request(mode="RGBA", output_format="webp"), ignore)
        assert (artifact.media_type, artifact.extension) == ("image/webp", "webp")
        clear = self.makes_alpha or self.keeps_alpha
        assert decoded(artifact).shape[2] == (4 if clear else 3)
        for unknown in ("gif", "PNG", 7, *(("jpeg",) if self.makes_alpha else ())):
            with pytest.raises(InvalidRequest, match="output_format"):
                editor.run(self.request(output_format=unknown), ignore)

    def test_the_same_job_gives_the_same_pixels(self, editor: Engine, usual: Usual) -> None:
        assert np.array_equal(usual[0], self.run(editor, self.request()))

    @pytest.mark.parametrize("size", ODD_SIZES)
    def test_the_smallest_and_the_thinnest_pictures(self, editor: Engine, size: Size) -> None:
        request = self.request(size=size)
        if self.needs_content:
            with pytest.raises(InvalidRequest):
                editor.run(request, ignore)
            return
        width, height = self.result_size(size)
        assert self.run(editor, request).shape[:2] == (height, width)

    def test_progress_rises_by_one_to_the_total(self, usual: Usual) -> None:
        _, seen = usual
        assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
        assert all(step <= steps for step, steps in seen)
        assert len(seen) > 1
        assert seen[-1][0] == seen[-1][1]

    def test_a_cancel_stops_at_any_step_and_leaves_the_engine_usable(
        self, editor: Engine, usual: Usual
    ) -> None:
        before, seen = usual
        for last in sorted({1, 2, (len(seen) + 1) // 2, len(seen)}):
            cancelled = Cancelled("The customer changed their mind.")
            reached: list[int] = []

            def cancel(
                step: int,
                steps: int,
                last: int = last,
                reached: list[int] = reached,
                error: Cancelled = cancelled,
            ) -> None:
                reached.append(step)
                if step == last:
                    raise error

            with pytest.raises(Cancelled) as caught:
                editor.run(self.request(), cancel)
            assert caught.value is cancelled
            assert reached == list(range(1, last + 1))
        assert np.array_equal(before, self.run(editor, self.request()))

    def test_the_callers_interrupt_passes_unchanged(self, editor: Engine) -> None:
        def interrupt(step: int, steps: int) -> None:
            raise TimeIsUp

        with pytest.raises(TimeIsUp):
            editor.run(self.request(), interrupt)

    def test_an_allocation_that_fails_is_out_of_memory(self, editor: Engine) -> None:
        def exhaust(step: int, steps: int) -> None:
            np.empty(2**60, np.uint8)

        with pytest.raises(OutOfMemory, match=re.escape(editor.served_by)):
            editor.run(self.request(), exhaust)
        assert self.run(editor, self.request()).shape[0] == self.result_size(self.size)[1]

    def test_what_breaks_inside_is_an_engine_fault_with_its_cause(self, editor: Engine) -> None:
        def slip(step: int, steps: int) -> None:
            raise KeyError("a slip")

        with pytest.raises(EngineFault, match="a slip") as caught:
            editor.run(self.request(), slip)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_bad_parameters_are_refused_before_any_step(self, editor: Engine) -> None:
        for change in self.bad_params:
            seen: list[int] = []
            with pytest.raises(InvalidRequest) as caught:
                editor.run(self.request(**change), lambda step, _, seen=seen: seen.append(step))
            assert [error.field for error in caught.value.errors] == list(change)
            assert seen == []

    def test_a_job_without_its_picture_is_refused_before_any_step(self, editor: Engine) -> None:
        whole = self.request()
        inputs = {name: data for name, data in whole.inputs.items() if name != "image"}
        request = RunRequest(whole.job_id, 1, whole.model, whole.operation, whole.params, inputs)
        seen: list[int] = []
        with pytest.raises(InvalidRequest) as caught:
            editor.run(request, lambda step, steps: seen.append(step))
        assert [error.field for error in caught.value.errors] == ["image"]
        assert seen == []

    def test_a_picture_that_is_none_is_the_farms_fault(self, editor: Engine) -> None:
        whole = self.request()
        inputs = {**whole.inputs, "image": b"GIF89a no picture of ours"}
        request = RunRequest(whole.job_id, 1, whole.model, whole.operation, whole.params, inputs)
        with pytest.raises(EngineFault):
            editor.run(request, ignore)

    def test_another_operation_is_refused(self, editor: Engine) -> None:
        ours = self.request()
        other = RunRequest(ours.job_id, 1, ours.model, "audio", ours.params, ours.inputs)
        with pytest.raises(InvalidRequest, match="operation"):
            editor.run(other, ignore)

    def test_it_runs_without_a_word(
        self, editor: Engine, capfd: pytest.CaptureFixture[str]
    ) -> None:
        editor.run(self.request(), ignore)
        assert capfd.readouterr() == ("", "")

    def test_served_by_is_what_the_card_says(self, editor: Engine) -> None:
        assert editor.served_by == self.served_by

    def test_load_and_unload_can_be_repeated(
        self, editor: Engine, tiny_cache: Path, usual: Usual
    ) -> None:
        other = self.create(tiny_cache)
        assert other.resident_bytes == 0
        with pytest.raises(EngineFault, match="before it was loaded"):
            other.run(self.request(), ignore)
        for _ in range(2):
            other.load(self.device)
            other.load(self.device)
            assert other.resident_bytes == editor.resident_bytes
            assert np.array_equal(usual[0], self.run(other, self.request()))
            other.unload()
            other.unload()
            assert other.resident_bytes == 0
