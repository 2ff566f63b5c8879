"""Fetching weights: repositories from a hub, single files from anywhere, checked and converted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from models.weights import layout
from tests.models.hub import Card, Repository, hub
from tests.models.test_weights import WITH_VAE, as_fp16, tiny

__all__ = ["tiny"]


def pull(
    endpoint: str, home: Path, card: Card, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own: the hub's address is read when its library is imported."""
    code = (
        "import pathlib\n"
        "from farm.errors import FarmError\n"
        "from models import registry, weights\n"
        "from tests.models.hub import Card, Repository\n"
        f"setup = registry.setup_of({card!r}, 'hub', pathlib.Path('unused'))\n"
        "try: print(*weights.pull(setup).values(), sep='\\n')\n"
        "except FarmError as error: print(type(error).__name__, error)"
    )
    set_here = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": os.getcwd()}
    set_here |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=True, env=kept | set_here | settings,
    )  # fmt: skip


def test_pull_fetches_one_precision_and_nothing_else(tmp_path: Path, tiny: Path) -> None:
    published = as_fp16(tiny, tmp_path / "published")
    (published / "everything.safetensors").write_bytes(b"a second copy of the whole model")
    (published / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"float32")
    (published / "unet" / "model.onnx").write_bytes(b"another runtime's")
    (published / "unet" / "diffusion_pytorch_model.fp16.bin").write_bytes(b"a pickle")
    vae_files = tiny / "vae"
    with hub({"someone/model": published, "someone/vae": vae_files}) as url:
        done = pull(url, tmp_path / "home", WITH_VAE)
    path, vae = map(Path, done.stdout.split())
    assert path.is_dir(), (done.stdout, done.stderr)
    assert {file.name for file in vae.iterdir()} == {file.name for file in vae_files.iterdir()}
    got = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    offered = {str(file.relative_to(published)) for file in published.rglob("*") if file.is_file()}
    unwanted = {"everything.safetensors", "unet/diffusion_pytorch_model.safetensors"}
    unwanted |= {"unet/model.onnx", "unet/diffusion_pytorch_model.fp16.bin"}
    unwanted |= {file for file in offered if file.startswith("vae/")}
    assert got == offered - unwanted
    assert layout.check_pipeline(path, "fp16", ("vae",)) == path


def test_pull_fetches_listed_files_and_nothing_else(tmp_path: Path) -> None:
    offered = ("state.bin", "other.bin", "deep/net.bin", "deep/config.json", "config.json")
    for name in offered:
        (tmp_path / "published" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "published" / name).write_text(name)
    wanted = ("deep/net.bin", "state.bin")
    card = Card("singer", {"music": Repository("someone/song", layout="files", files=wanted)})
    with hub({"someone/song": tmp_path / "published"}) as url:
        done = pull(url, tmp_path / "home", card)
    path = Path(done.stdout.strip())
    got = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert got == set(wanted), (done.stdout, done.stderr)
    assert (path / "deep" / "net.bin").read_text() == "deep/net.bin"


def test_pull_says_how_to_pass_a_licence_gate(tmp_path: Path, tiny: Path) -> None:
    with hub({"someone/model": tiny}, gated=True) as url:
        done = pull(url, tmp_path / "home", Card())
    assert done.stdout.startswith("SetupError")
    assert "hf auth login" in done.stdout


def test_pull_without_a_network_says_so(tmp_path: Path) -> None:
    done = pull("http://127.0.0.1:9", tmp_path / "home", Card(), HF_HUB_OFFLINE="1")
    assert done.stdout.startswith("SetupError The weights of sdxl could not be fetched")
