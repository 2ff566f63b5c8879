"""Single files: fetched, checked, converted, and found again by the engines."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from farm.errors import SetupError, WeightsMissing
from models import registry, weights
from models.weights import files
from tests.models.file_server import releases
from tests.models.hub import Card, File

NETWORK = os.urandom(300_000)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy this machine has, the tests' server is not behind it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def source(url: str, content: bytes, format: str = "onnx") -> File:
    return File(url, hashlib.sha256(content).hexdigest(), format)


def left_in(cache: Path) -> dict[str, int]:
    """Name and size of every file that fetching left."""
    return {file.name: file.stat().st_size for file in (cache / "files").iterdir()}


def pickled(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_a_file_is_fetched_once_and_found_by_its_hash(tmp_path: Path) -> None:
    with releases(net=NETWORK) as offer:
        wanted = source(f"{offer.url}/latest/net", NETWORK)
        setup = registry.setup_of(Card("cutter", {"net": wanted}), "hub", tmp_path)
        with pytest.raises(WeightsMissing, match="farm models pull cutter"):
            weights.locate(setup, "net")
        path = weights.pull(setup)["net"]
        assert weights.pull(setup)["net"] == path
        assert offer.asked == [None]
    assert path.read_bytes() == NETWORK
    assert weights.locate(setup, "net").path == path == tmp_path / "files" / path.name
    assert left_in(tmp_path) == {f"{wanted.sha256}.onnx": len(NETWORK)}


def test_another_file_than_the_catalogue_says_is_thrown_away(tmp_path: Path) -> None:
    with releases(net=NETWORK) as offer:
        wanted = source(f"{offer.url}/files/net", b"what was there when the card was written")
        with pytest.raises(SetupError, match=hashlib.sha256(NETWORK).hexdigest()):
            files.fetch("cutter", wanted, tmp_path)
        assert left_in(tmp_path) == {f"{wanted.sha256}.part": 0}
        with pytest.raises(SetupError, match="was thrown away"):
            files.fetch("cutter", wanted, tmp_path)
        assert offer.asked == [None, None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_fetch_goes_on_where_it_stopped(tmp_path: Path, ranges: bool) -> None:
    with releases(net=NETWORK) as offer:
        wanted = source(f"{offer.url}/files/net", NETWORK)
        offer.ranges, offer.cut_after = ranges, 100_000
        with pytest.raises(SetupError, match="goes on where it stopped"):
            files.fetch("cutter", wanted, tmp_path)
        assert left_in(tmp_path) == {f"{wanted.sha256}.part": 100_000}
        offer.cut_after = None
        path = files.fetch("cutter", wanted, tmp_path)
        assert offer.asked == [None, "bytes=100000-"]
    assert path.read_bytes() == NETWORK
    assert len(left_in(tmp_path)) == 1


def test_a_file_that_was_fetched_but_not_checked_is_not_fetched_again(tmp_path: Path) -> None:
    with releases(net=NETWORK) as offer:
        wanted = source(f"{offer.url}/files/net", NETWORK)
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / f"{wanted.sha256}.part").write_bytes(NETWORK)
        assert files.fetch("cutter", wanted, tmp_path).read_bytes() == NETWORK


@pytest.mark.parametrize("name", ["files/other", "nowhere/net"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with releases(net=NETWORK) as offer:
        wanted = source(f"{offer.url}/{name}", NETWORK)
        with pytest.raises(SetupError, match=f"could not be fetched from {wanted.url}.*404"):
            files.fetch("cutter", wanted, tmp_path)


def test_a_file_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BYTES_MAX", 1000)
    with (
        releases(net=NETWORK) as offer,
        pytest.raises(SetupError, match="does not end"),
    ):
        files.fetch("cutter", source(f"{offer.url}/files/net", NETWORK), tmp_path)


def test_two_processes_do_not_fetch_into_one_file(tmp_path: Path) -> None:
    wanted = source("http://127.0.0.1:9/net", NETWORK)
    (tmp_path / "files").mkdir()
    with (tmp_path / "files" / f"{wanted.sha256}.part").open("wb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match="Another process is fetching"):
            files.fetch("cutter", wanted, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "files").touch()
    with pytest.raises(SetupError, match=f"could not be kept in {tmp_path}/files"):
        files.fetch("cutter", source("http://127.0.0.1:9/net", NETWORK), tmp_path)


def test_a_pickled_checkpoint_becomes_safetensors(tmp_path: Path) -> None:
    shared = torch.arange(12.0).reshape(3, 4)
    inside = {"conv.weight": shared, "conv.again": shared, "turned": shared.T, "epoch": 7}
    content = pickled({"params_ema": inside})
    with releases(net=content) as offer:
        wanted = source(f"{offer.url}/files/net", content, "torch")
        path = files.fetch("cutter", wanted, tmp_path)
    tensors = load_file(path)
    assert set(tensors) == {"conv.weight", "conv.again", "turned"}
    assert all(torch.equal(tensors[name], inside[name]) for name in tensors)
    assert list(left_in(tmp_path)) == [f"{wanted.sha256}.safetensors"]


def test_a_torchscript_archive_becomes_safetensors(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Sequential(layer)), buffer)
    content = buffer.getvalue()
    with releases(net=content) as offer:
        wanted = source(f"{offer.url}/files/net", content, "torchscript")
        tensors = load_file(files.fetch("cutter", wanted, tmp_path))
    assert set(tensors) == {"0.weight", "0.bias"}
    assert torch.equal(tensors["0.weight"], layer.weight)


class Burglar:
    """What it is unpickled into is the call of a function."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("format", ["torch", "torchscript"])
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(
    tmp_path: Path, format: str
) -> None:
    content = pickled({"params": {"weight": torch.ones(2)}, "more": Burglar(tmp_path / "trace")})
    with releases(net=content) as offer:
        wanted = source(f"{offer.url}/files/net", content, format)
        with pytest.raises(SetupError, match="could not be converted for cutter"):
            files.fetch("cutter", wanted, tmp_path)
    assert not (tmp_path / "trace").exists()
    assert list(left_in(tmp_path)) == [f"{wanted.sha256}.part"]


def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    content = pickled({"epoch": 7})
    with (
        releases(net=content) as offer,
        pytest.raises(SetupError, match="no tensors in it"),
    ):
        files.fetch("cutter", source(f"{offer.url}/files/net", content, "torch"), tmp_path)


def ask(action: str, cache: Path, *cards: Card) -> list[dict[str, Any]]:
    """What ``python -m models`` answers about cards."""
    asked = {
        "cache": str(cache),
        "models": [
            {
                "id": card.id,
                "weights": "hub",
                "served_by": card.id,
                "options": dict(card.options),
                "sources": {part: vars(source) for part, source in card.weights.items()},
            }
            for card in cards
        ],
    }
    done = subprocess.run(
        [sys.executable, "-m", "models", action],
        check=False, input=json.dumps(asked), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == (0 if all(answer["ok"] for answer in answers) else 1), done.stderr
    return answers


def test_the_command_pulls_and_checks_models_of_several_parts(tmp_path: Path) -> None:
    with releases(a=NETWORK, b=NETWORK[1:]) as offer:
        parts = {
            name: source(f"{offer.url}/files/{name}", offer.files[name]) for name in ("a", "b")
        }
        cutter, other = Card("cutter", parts), Card("other", {"c": parts["a"]})
        before, _ = ask("check", tmp_path, cutter, other)
        assert (before["id"], before["ok"]) == ("cutter", False)
        assert "farm models pull cutter" in before["message"]
        [pulled] = ask("pull", tmp_path, cutter)
        assert pulled["ok"], pulled
    after, shared = ask("check", tmp_path, cutter, other)
    folder = tmp_path / "files"
    assert after["message"] == ", ".join(
        f"{name} in {folder}/{part.sha256}.onnx" for name, part in parts.items()
    )
    assert shared["message"] == f"{folder}/{parts['a'].sha256}.onnx"
