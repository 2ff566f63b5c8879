"""Schemathesis against a running API, as two customers who must not see each other's jobs.

The suite runs it briefly. For as long as you like, against an API of its own:

    python -m tests.api.schema --minutes 5

or against any other, with the keys of two of its accounts:

    python -m tests.api.schema --minutes 5 --base http://127.0.0.1:8000 --keys pk_live_a pk_live_b
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.catalog import BUILT_IN
from farm.embedded import start_redis
from tests import factories
from tests.flows.whole_farm import WholeFarm, whole_farm
from tests.services import database_server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "object_level_authorization",
)
SEED = 20261121
DOCUMENT = "/docs/pixelapi/openapi.json"
PAGE = 100
OWN_PATHS = {
    "musicgen-small": "/v1/audio",
    "wan2.1": "/v1/video",
    "cogvideo-2b": "/v1/video",
    "try-on": "/v1/virtual-tryon/jobs",
}
"""Where jobs that are no pictures have a status path of their own, by model or operation."""


@dataclass(frozen=True)
class Target:
    """An API and the keys of two of its accounts."""

    base_url: str
    keys: tuple[str, str]

    def call(self, key: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of a GET, or of a POST where there is a body."""
        request = urllib.request.Request(
            self.base_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def jobs(self, key: str) -> list[dict[str, Any]]:
        """The newest jobs of a key's account."""
        _, answer = self.call(key, f"/v1/account/usage?limit={PAGE}")
        found: list[dict[str, Any]] = answer["usage"]
        return found

    def submit_examples(self, key: str) -> None:
        """Submit every JSON example of the document."""
        _, document = self.call(key, DOCUMENT)
        schemas = document["components"]["schemas"]
        for path, operations in document["paths"].items():
            if "{" not in path and "requestBody" in operations.get("post", {}):
                media = operations["post"]["requestBody"]["content"]["application/json"]
                shape = schemas[media["schema"]["$ref"].rpartition("/")[2]]
                status, answer = self.call(key, path, shape["examples"][0])
                assert status == 200, answer


def run(target: Target, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """One run of schemathesis; what it printed, and 0 where it found nothing.

    Args:
        folder: for its configuration and whatever it keeps.
        options: more words for ``schemathesis run``.
    """
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
        for name, key in zip("ab", target.keys, strict=True)
    ]
    (folder / "users.json").write_text(json.dumps({"auth": users}), "utf-8")
    config = folder / "schemathesis.toml"
    config.write_text('[auth.wfc]\npath = "users.json"\npeers = ["a", "b"]\n', "utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"),
        *("run", target.base_url + DOCUMENT),
        *("--checks", ",".join(CHECKS), "--seed", str(SEED), "--request-timeout", "30"),
        *("--continue-on-failure", "--generation-database", "none", "--warnings", "off"),
        *options,
    ]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=24 * 3600, check=False
    )


def strangers_in(target: Target) -> list[str]:
    """Every way in which one account reaches a job of the other one; there should be none."""
    found = []
    for owner, other in (target.keys, target.keys[::-1]):
        for job in target.jobs(owner):
            bare = job["id"][-36:]
            own = OWN_PATHS.get(job.get("model") or job["operation"])
            for path in (
                f"/v1/image/{job['id']}",
                f"/v1/image/{bare}",
                f"/v1/image/upscale/{bare}",
                f"/v1/jobs/{bare}",
                *((f"{own}/{bare}",) if own else ()),
            ):
                if (mine := target.call(owner, path)[0]) != 200:
                    found.append(f"{path}: {mine} for its owner")
                if target.call(other, path) != (404, {"detail": "No such generation."}):
                    found.append(f"{path}: not unknown to somebody else")
    return found


@contextlib.contextmanager
def own_api(folder: Path, database_url: str, redis_url: str) -> Iterator[tuple[WholeFarm, Target]]:
    """An API without rate limits that a test could reach, and two customers of it."""
    catalog = folder / "catalog.toml"
    catalog.write_text(BUILT_IN.read_text("utf-8").replace("per_minute = ", "per_minute = 99999"))
    with whole_farm(folder, database_url, redis_url, redis_url, FARM_CATALOG=str(catalog)) as farm:
        farm.start_api()
        second = factories.customer(farm.services, plan="scale")
        base_url = f"http://127.0.0.1:{farm.api_port}"
        yield farm, Target(base_url, (farm.who.key, second.key))


def main(words: Sequence[str] | None = None) -> int:
    """Run for some minutes, print what was found; 0 where that is nothing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--base", help="a running API; left out, one is started")
    parser.add_argument("--keys", nargs=2, metavar="KEY", help="of two accounts of that API")
    given = parser.parse_args(words)
    if bool(given.base) != bool(given.keys):
        parser.error("--base and --keys go together")
    with contextlib.ExitStack() as stack:
        # A short path: sockets lie in it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-schema-")))
        if given.base:
            target = Target(given.base.rstrip("/"), tuple(given.keys))
        else:
            databases = stack.enter_context(database_server(folder / "postgres", ""))
            redis = stack.enter_context(start_redis(folder / "redis"))
            url = stack.enter_context(databases.fresh())
            _, target = stack.enter_context(own_api(folder, url, redis.url))
        for key in target.keys:
            target.submit_examples(key)
        # Calls without a key are limited by address, which in a long run is what they meet.
        options = ("--exclude-checks", "ignored_auth")
        done = run(target, folder, *options, "--max-time", str(round(given.minutes * 60)))
        print(done.stdout, done.stderr)
        strangers = strangers_in(target)
        print("\n".join(strangers) or "No access across accounts.")
        return int(done.returncode != 0 or bool(strangers))


if __name__ == "__main__":
    sys.exit(main())
