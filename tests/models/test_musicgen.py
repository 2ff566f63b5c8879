"""The MusicGen engine on a small checkpoint in audiocraft's own layout."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from farm.errors import Cancelled, EngineFault, ExtraMissing, WeightsMissing
from models.base import Engine
from tests.contracts.audio_engine import AudioEngineContract, TimeIsUp, Usual
from tests.models.checkpoints import making, musicgen


class TestMusicgen(AudioEngineContract):
    served_by = "musicgen-small"

    @classmethod
    def create(cls, folder: Path) -> Engine:
        if not (folder / cls.model_id).exists():
            musicgen.write(folder / cls.model_id)
        return making.engine(cls.model_id, folder, TimeIsUp)

    def test_a_step_is_a_frame_of_the_codec(self, usual: Usual) -> None:
        assert len(usual[1]) == 5 * 50 + 3

    def test_a_run_leaves_everyone_elses_random_numbers_alone(self, player: Engine) -> None:
        def cancel(step: int, steps: int) -> None:
            if step == 3:
                raise Cancelled("The customer changed their mind.")

        torch.manual_seed(5)
        undisturbed = torch.rand(3)
        torch.manual_seed(5)
        with pytest.raises(Cancelled):
            player.run(self.request(), cancel)
        assert torch.equal(torch.rand(3), undisturbed)

    def test_what_the_model_takes_is_counted_whole(self, player: Engine, folder: Path) -> None:
        weights = folder / self.model_id
        files = ("music/state_dict.bin", "music/compression_state_dict.bin")
        on_disk = sum((weights / file).stat().st_size for file in files)
        on_disk += (weights / "text" / "model.safetensors").stat().st_size
        assert 0.9 * on_disk < player.resident_bytes < 1.1 * on_disk

    @pytest.mark.usefixtures("no_network")
    def test_it_opens_without_a_network(self, folder: Path) -> None:
        made = self.create(folder)
        made.load("cpu")
        assert made.resident_bytes > 0
        made.unload()

    def test_without_audiocraft_it_says_how_to_install_it(
        self, player: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "audiocraft.models", None)
        with pytest.raises(ExtraMissing, match=r"'audiocraft'.*pip install --no-deps audiocraft"):
            self.create(folder).load("cpu")

    @pytest.mark.parametrize(
        "file", ["music/state_dict.bin", "music/compression_state_dict.bin", "text/config.json"]
    )
    def test_a_missing_file_is_named(self, player: Engine, tmp_path: Path, file: str) -> None:
        for name in (
            "music/state_dict.bin",
            "music/compression_state_dict.bin",
            "text/config.json",
        ):
            (tmp_path / self.model_id / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / self.model_id / name).touch()
        (tmp_path / self.model_id / "text" / "model.safetensors").touch()
        (tmp_path / self.model_id / file).unlink()
        with pytest.raises(WeightsMissing, match=rf"{tmp_path}.*{file} is missing"):
            making.engine(self.model_id, tmp_path).load("cpu")

    def test_a_codec_that_is_only_a_name_is_refused_with_what_to_do(
        self, player: Engine, folder: Path, tmp_path: Path
    ) -> None:
        name = {"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.3.0"}
        self.altered(folder, tmp_path, "compression_state_dict.bin", name)
        made = making.engine(self.model_id, tmp_path)
        with pytest.raises(WeightsMissing, match="only the name 'facebook/encodec_32khz'"):
            made.load("cpu")
        assert made.resident_bytes == 0

    def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(
        self, player: Engine, folder: Path, tmp_path: Path
    ) -> None:
        trace = tmp_path / "trace"
        self.altered(folder, tmp_path, "state_dict.bin", {"best_state": Burglar(trace)})
        with pytest.raises(EngineFault, match="loading"):
            making.engine(self.model_id, tmp_path).load("cpu")
        assert not trace.exists()

    @classmethod
    def altered(cls, folder: Path, target: Path, file: str, content: Any) -> None:
        """A copy of the checkpoint with another content of one file."""
        shutil.copytree(folder / cls.model_id, target / cls.model_id)
        torch.save(content, target / cls.model_id / "music" / file)


class Burglar:
    """What it is unpickled into is the call of a function."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)
