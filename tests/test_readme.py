"""Every shell block of the README is run here, as written but for ports, folders and hosts."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from farm.cli.demo.drawing import product_photo
from tests.processes import Process, free_port, running, wait_until

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
[OPENAI] = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
GENERATE = "curl -s http://127.0.0.1:8000/v1/image/generate"
EDIT = "curl -s http://127.0.0.1:8000/v1/image/remove-background"
WAIT = 'curl -s "http://127.0.0.1:8000/v1/jobs/<generation_id>?wait=30"'
ACCOUNT = "farm accounts create"
WATCH = "curl -sN http://127.0.0.1:8000/v1/jobs/<generation_id>/events"
READY_S = 120.0

pytestmark = pytest.mark.xdist_group("whole-farm")


def block(first_words: str) -> str:
    """The README's one block that starts with these words."""
    found = [text for text in BLOCKS if text.startswith(first_words)]
    assert len(found) == 1, f"{len(found)} blocks start with {first_words!r}"
    return found[0]


def make(text: str, *, args: str = "") -> list[str]:
    """A ``make`` line with the environment that runs the tests instead of a fresh one."""
    words = shlex.split(text)
    assert words[0] == "make"
    # -o: what is installed is up to date; reinstalling belongs to make, not to this test.
    old = ["-o", ".venv/worker.stamp", "-o", ".venv/dev.stamp"]
    return [*words, *old, f"BIN={BIN}", *([f"ARGS={args}"] if args else [])]


def test_every_block_has_a_test_here() -> None:
    tested = (
        "make demo",
        "make test",
        "make up",
        GENERATE,
        EDIT,
        WAIT,
        WATCH,
        ACCOUNT,
        "export DATABASE_URL",
        "farm api",
    )
    assert [text.startswith(words) for text, words in zip(BLOCKS, tested, strict=True)] == [
        True
    ] * len(tested)


def test_make_demo(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        make(block("make demo"), args=f"--out {out}"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("sdxl.png", "flux-schnell.png"):
        with Image.open(out / name) as picture:
            assert (picture.format, picture.size) == ("PNG", (1024, 1024))
    for name, size in (("photo.png", (768, 768)), *EDITED.items()):
        with Image.open(out / name) as picture:
            assert (picture.format, picture.size) == ("PNG", size)
    assert (out / "music.wav").read_bytes()[:4] == b"RIFF"
    assert (out / "film.mp4").read_bytes()[4:8] == b"ftyp"
    for name, size in STOREFRONTS.items():
        with Image.open(out / f"{name}.png") as picture:
            assert (picture.format, picture.size) == ("PNG", size)
        cost = "(1 credit|[2-9] credits)"
        assert re.search(rf"{name}\.png .*  {cost} of {name}@farm\.example$", done.stdout, re.M)
    assert "balance: 9882 credits (was 10000, spent 118)" in done.stdout
    assert "audit: all 11 invariants hold" in done.stdout


STATUSES = ("queued", "processing", "completed")
"""After thirty seconds on a busy machine it may be any of them."""

STOREFRONTS = {"pixapi": (768, 512), "pixola": (512, 512), "pixza": (512, 512)}
EDITED = {
    "erase.png": (2 * 768 + 24, 768),
    "cut-out.png": (2 * 768 + 24, 768),
    "scene.png": (2 * 768 + 24, 768),
    "upscale.png": (2 * 768 + 24, 768),
    "try-on.png": (576 + 768 + 576 + 2 * 24, 768),
}
"""Before and after, a gap between them."""


def test_make_test_is_the_suite_that_runs_this() -> None:
    done = subprocess.run(
        [*make(block("make test")), "-n"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"{BIN}/python -m pytest" in done.stdout


def test_make_up_and_the_curl_lines(tmp_path: Path) -> None:
    port = free_port()
    args = f"--port {port} --data {tmp_path / 'data'}"
    with running(make(block("make up"), args=args), tmp_path / "up.log", cwd=ROOT) as up:
        key = wait_until(lambda: re.search(r"pk_live_\w+", up.output()), READY_S, up.output)
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), READY_S, up.output)
        photo = tmp_path / "photo.png"
        product_photo(256).save(photo)

        def curl(words: str, job_id: str = "") -> str:
            line = block(words).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
            line = line.replace("demo/photo.png", str(photo)).replace("<generation_id>", job_id)
            done = subprocess.run(
                ["bash", "-euc", line],
                env={"KEY": key.group(), "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=100,
                check=True,
            )
            return done.stdout

        submitted = [json.loads(curl(words)) for words in (GENERATE, EDIT)]
        assert [answer["status"] for answer in submitted] == ["queued", "queued"]
        assert [answer["credits_used"] for answer in submitted] == [3.0, 2.0]
        assert json.loads(curl(WAIT, submitted[0]["generation_id"]))["status"] in STATUSES
        assert "event: end\n" in curl(WATCH, submitted[1]["generation_id"])
        assert answers(f"http://127.0.0.1:{port}/docs")
        assert openai_images(port, tmp_path / "data") == 3


def openai_images(port: int, data: Path) -> int:
    """How many pictures the lines for the ``openai`` client get, from a farm of that folder."""
    made = subprocess.run(
        [BIN / "farm", *shlex.split(block(ACCOUNT), comments=True)[1:], "--data", data],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    key = re.search(r"sk_\w+", made.stdout)
    assert key, made.stdout
    code = OPENAI.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("sk_…", key.group())
    *setting_up, call = code.strip().splitlines()
    code = "\n".join([*setting_up, f"print(len({call}.data))"])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture
def exported(postgres_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment that the block for a real installation exports, for hosts of this test."""
    ours = {
        "postgresql://farm:secret@db.internal/farm": postgres_url,
        "redis://broker.internal/0": redis_url,
        "/var/lib/farm": str(tmp_path / "data"),
    }
    text = block("export DATABASE_URL")
    for theirs, mine in ours.items():
        assert theirs in text
        text = text.replace(theirs, shlex.quote(mine))
    done = subprocess.run(
        ["bash", "-euc", f"{text}\nenv -0"],
        env={"PATH": f"{BIN}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    printed, _, environment = done.stdout.partition("DATABASE_URL=")
    assert "pk_live_" in printed
    found = dict(line.split("=", 1) for line in f"DATABASE_URL={environment}".split("\0") if line)
    return {k: v for k, v in found.items() if k.startswith(("FARM_", "DATABASE_", "BROKER_"))}


@pytest.fixture
def farm_processes(exported: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Process]]:
    """Each line of the block of processes, running; keyed by its second word."""
    ports = {"api": free_port(), "flower": free_port()}
    # The machine that runs the tests has neither the hub's weights nor a GPU.
    env = {**exported, "FARM_WEIGHTS": "tiny"}
    started: dict[str, Process] = {}
    with ExitStack() as stack:
        for line in block("farm api").splitlines():
            program, name, *words = shlex.split(line)
            assert program == "farm"
            if name in ports:
                words += ["--port", str(ports[name])]
            log = tmp_path / f"{name}.log"
            command = [BIN / "farm", name, *words]
            started[name] = stack.enter_context(running(command, log, env=env))
        api = started["api"]
        wait_until(lambda: answers(f"http://127.0.0.1:{ports['api']}/healthz"), READY_S, api.output)
        yield started


def test_the_processes_of_a_real_installation(farm_processes: dict[str, Process]) -> None:
    assert set(farm_processes) == {"api", "control", "beat", "flower", "worker"}
    said = {"control": " ready.", "worker": " ready.", "beat": "beat: Starting", "flower": "Visit"}
    for name, words in said.items():
        process = farm_processes[name]
        wait_until(lambda p=process, w=words: w in p.output(), READY_S, process.output)  # type: ignore[misc]
    assert all(process.exit_code() is None for process in farm_processes.values())


def answers(url: str) -> bool:
    """True when a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
