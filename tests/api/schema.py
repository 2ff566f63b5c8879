"""Schemathesis against a running API, as two customers who must not see each other's jobs.

The suite runs it briefly on each storefront's document. For as long as you like, against an API
of its own:

    python -m tests.api.schema --storefront pixola --minutes 3

or against any other, with the keys of two of its accounts:

    python -m tests.api.schema --storefront pixola --base http://127.0.0.1:8000 --keys pxk_a pxk_b
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import random
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# A wait that ends before the pictures are made is the one 5xx that is meant.
_CONFIG = """
[auth.wfc]
path = "users.json"
peers = ["a", "b"]

[[operations]]
include-path-regex = "/images/(generations|edits)$"
[operations.checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 504]
"""
# What others describe too: the paths of all storefronts, and PixAPI's calls that wait, whose
# bodies are those of the calls that do not.
_BRIEFLY = """
[[operations]]
include-path-regex = "^/v1/(account/webhooks|jobs|models)|^(/api)?/v1/images/"
[operations.phases.coverage]
enabled = false
[operations.phases.stateful]
enabled = false
"""
PLENTY = 1_000_000
_UUID = re.compile("[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")


Job = Mapping[str, Any]
"""A job as a submit's answer, or a list, has it."""


@dataclass(frozen=True)
class Shop:
    """One storefront: its largest plan; where an account's jobs are listed, and under what word
    (nowhere: what the submits answered is all that is known); the paths that show one of them."""

    plan: str
    listed: str
    rows: str
    paths: Callable[[Job], Sequence[str]]


_OWN_PATHS = {
    "musicgen-small": "/v1/audio",
    "wan2.1": "/v1/video",
    "cogvideo-2b": "/v1/video",
    "try-on": "/v1/virtual-tryon/jobs",
}
"""Where PixelAPI's jobs that are no pictures have a path of their own, by model or operation."""


def _pixelapi_paths(job: Job) -> Sequence[str]:
    bare = job["id"][-36:]
    own = _OWN_PATHS.get(job.get("model") or job["operation"])
    return (
        f"/v1/image/{job['id']}",
        f"/v1/image/{bare}",
        f"/v1/image/upscale/{bare}",
        f"/v1/jobs/{bare}",
        *((f"{own}/{bare}",) if own else ()),
    )


def _paths_by(word: str, begins: str, path: str) -> Callable[[Job], Sequence[str]]:
    """The paths of what has such an id; other answers are no job's."""

    def paths(job: Job) -> Sequence[str]:
        job_id = str(job.get(word, ""))
        return (f"{path}/{job_id}", f"/v1/jobs/{job_id}") if job_id.startswith(begins) else ()

    return paths


SHOPS: Mapping[str, Shop] = {
    "pixelapi": Shop("scale", "/v1/account/usage?limit=100", "usage", _pixelapi_paths),
    "pixapi": Shop("business", "", "", _paths_by("id", "task_", "/v1/tasks")),
    "pixola": Shop(
        "studio",
        "/pixola/api/v1/batches?limit=100",
        "batches",
        _paths_by("batchId", "batch_", "/pixola/api/v1/batches"),
    ),
    "pixza": Shop(
        "agency",
        "/pixza/api/v1/generations?limit=100",
        "generations",
        _paths_by("id", "gen_", "/pixza/api/v1/generate"),
    ),
}


class Target:
    """An API, one of its storefronts, and the keys of two of that one's accounts."""

    def __init__(self, base_url: str, storefront: str, keys: Sequence[str], host: str = "") -> None:
        self.base_url = base_url
        self.shop = SHOPS[storefront]
        self.document = f"/docs/{storefront}/openapi.json"
        self.keys = tuple(keys)
        # Calls without a key are limited by address: each run comes from one of its own.
        address = str(ipaddress.IPv4Address((10 << 24) + random.getrandbits(24)))
        self.headers = {"X-Forwarded-For": address} | ({"Host": host} if host else {})
        self._answers: dict[str, list[Job]] = {key: [] for key in keys}

    def call(self, key: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of a GET, or of a POST where there is a body."""
        request = urllib.request.Request(
            self.base_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/json",
                **self.headers,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def jobs(self, key: str) -> list[Job]:
        """The newest jobs of a key's account."""
        if not self.shop.listed:
            return self._answers[key]
        _, answer = self.call(key, self.shop.listed)
        found: list[Job] = answer[self.shop.rows]
        return found

    def submit_examples(self, key: str, *, somebody_works: bool = False) -> None:
        """Submit every JSON example of the document.

        Args:
            somebody_works: whoever waits for a picture may hear what became of it, if only that
                the picture to edit could not be fetched; else that it takes too long.
        """
        _, document = self.call(key, self.document)
        schemas = document["components"]["schemas"]
        for path, operations in document["paths"].items():
            if "{" not in path and "requestBody" in operations.get("post", {}):
                media = operations["post"]["requestBody"]["content"]["application/json"]
                shape = schemas[media["schema"]["$ref"].rpartition("/")[2]]
                # OpenAPI 3.0 has one, 3.1 a list of them.
                [example, *_] = shape.get("examples") or [shape["example"]]
                status, answer = self.call(key, path, example)
                waited = "504" in operations["post"]["responses"]
                assert status == 200 or (waited and (somebody_works or status == 504)), answer
                if status == 200:
                    self._answers[key].append(answer)


def run(
    target: Target, folder: Path, *options: str, shared: bool = True
) -> subprocess.CompletedProcess[str]:
    """One run of schemathesis; what it printed, and 0 where it found nothing.

    Args:
        shared: False looks only briefly at what other documents, or other paths, have too.
        folder: for its configuration and whatever it keeps.
        options: more words for ``schemathesis run``.
    """
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {key}"}]}
        for name, key in zip("ab", target.keys, strict=True)
    ]
    (folder / "users.json").write_text(json.dumps({"auth": users}), "utf-8")
    config = folder / "schemathesis.toml"
    config.write_text(_CONFIG if shared else _CONFIG + _BRIEFLY, "utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"),
        *("run", target.base_url + target.document),
        *(word for pair in target.headers.items() for word in ("--header", ": ".join(pair))),
        *("--checks", ",".join(CHECKS), "--seed", str(SEED), "--request-timeout", "30"),
        *("--continue-on-failure", "--generation-database", "none", "--warnings", "off"),
        *options,
    ]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=24 * 3600, check=False
    )


def _no_id(found: re.Match[str]) -> str:
    """An id of nobody's job, written as this one is."""
    return uuid.uuid4().hex if len(found[0]) == 32 else str(uuid.uuid4())


def strangers_in(target: Target) -> list[str]:
    """Every way in which one account reaches a job of the other one; there should be none."""
    found = []
    for owner, other in (target.keys, target.keys[::-1]):
        paths = [path for job in target.jobs(owner) for path in target.shop.paths(job)]
        assert paths, "there is no job to look for"
        for path in paths:
            if (mine := target.call(owner, path)[0]) != 200:
                found.append(f"{path}: {mine} for its owner")
            unknown = _UUID.sub(_no_id, path)
            if target.call(other, path) != (404, target.call(other, unknown)[1]):
                found.append(f"{path}: not unknown to somebody else")
    return found


@contextlib.contextmanager
def own_api(
    folder: Path, database_url: str, redis_url: str
) -> Iterator[tuple[WholeFarm, Callable[[str], Target]]]:
    """An API without rate limits that a test could reach; two new customers of a storefront."""
    catalog = folder / "catalog.toml"
    text = BUILT_IN.read_text("utf-8")
    for limit in ("per_minute = ", "per_day = "):
        text = text.replace(limit, f"{limit}99999")
    catalog.write_text(text, "utf-8")
    # Nobody works here, so whoever waits for a picture waits in vain.
    settings = {
        "FARM_CATALOG": str(catalog),
        "FARM_TRUSTED_PROXIES": "1",
        # Where a storefront has a host of its own, its words are used before there is a key.
        "FARM_HOSTS": ",".join(f"{storefront}.test={storefront}" for storefront in SHOPS),
        "FARM_SYNC_WAIT_S": "0.05",
        "FARM_PIXZA_WAIT_S": "0.05",
    }
    made = whole_farm(folder, database_url, redis_url, redis_url, **settings)
    with made as farm:
        farm.start_api()

        def target(storefront: str) -> Target:
            plan = SHOPS[storefront].plan
            who = [
                factories.customer(
                    farm.services, storefront=storefront, plan=plan, extra_credits=PLENTY
                )
                for _ in "ab"
            ]
            base_url = f"http://127.0.0.1:{farm.api_port}"
            keys = [customer.key for customer in who]
            return Target(base_url, storefront, keys, f"{storefront}.test")

        yield farm, target


def main(words: Sequence[str] | None = None) -> int:
    """Run for some minutes, print what was found; 0 where that is nothing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--storefront", choices=sorted(SHOPS), default="pixelapi")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--base", help="a running API; left out, one is started")
    parser.add_argument("--keys", nargs=2, metavar="KEY", help="of two accounts of that API")
    parser.add_argument("--host", default="", help="the storefront's own name, as in FARM_HOSTS")
    given = parser.parse_args(words)
    if bool(given.base) != bool(given.keys):
        parser.error("--base and --keys go together")
    with contextlib.ExitStack() as stack:
        # A short path: sockets lie in it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-schema-")))
        if given.base:
            target = Target(given.base.rstrip("/"), given.storefront, given.keys, given.host)
        else:
            databases = stack.enter_context(database_server(folder / "postgres", ""))
            redis = stack.enter_context(start_redis(folder / "redis"))
            url = stack.enter_context(databases.fresh())
            _, made = stack.enter_context(own_api(folder, url, redis.url))
            target = made(given.storefront)
        for key in target.keys:
            target.submit_examples(key, somebody_works=bool(given.base))
        # Calls without a key are limited by address, which in a long run is what they meet.
        options = ("--exclude-checks", "ignored_auth")
        done = run(target, folder, *options, "--max-time", str(round(given.minutes * 60)))
        print(done.stdout, done.stderr)
        strangers = strangers_in(target)
        print("\n".join(strangers) or "No access across accounts.")
        return int(done.returncode != 0 or bool(strangers))


if __name__ == "__main__":
    sys.exit(main())
