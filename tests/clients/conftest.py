"""A whole running farm, as ``farm up`` starts it, for clients that know only a URL and a key."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from farm.accounts import create_account
from farm.config import load_settings
from farm.keys import create_key
from farm.services import Services, build_services
from tests.clients.pictures import Pictures, served
from tests.processes import free_port, running, wait_until

READY_S = 150.0


@dataclass(frozen=True)
class RunningFarm:
    """Where the farm answers, the key that it printed, and its services for a look inside."""

    base_url: str
    key: str
    services: Services

    def new_key(self, name: str, plan: str = "starter", storefront: str = "pixelapi") -> str:
        """The key of a new account, so that no test meets another one's limits."""
        with self.services.db.transaction() as connection:
            account = create_account(
                connection,
                self.services.catalog,
                f"{name}@example.com",
                storefront=storefront,
                plan=plan,
            )
            return create_key(connection, self.services.catalog, account.id)[1]


@pytest.fixture(scope="session")
def pictures() -> Iterator[Pictures]:
    """Pictures in a folder, and served from this machine."""
    with tempfile.TemporaryDirectory(prefix="farm-pictures-") as name, served(Path(name)) as made:
        yield made


@pytest.fixture(scope="session")
def farm_up(pictures: Pictures) -> Iterator[RunningFarm]:
    """``farm up`` in a folder of its own, ready; stopped at the end of the session."""
    # A short path: the farm's sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="farm-clients-") as name:
        folder = Path(name)
        port = free_port()
        command = [sys.executable, "-m", "farm.cli", "up", "--no-flower"]
        command += ["--port", str(port), "--data", str(folder / "data")]
        environment = {
            "FARM_WEIGHTS": "tiny",
            # What an operator sets for a picture store of their own network.
            "FARM_FETCH_ALLOW": pictures.host,
            "DATABASE_URL": "",
            "BROKER_URL": "",
        }
        with running(command, folder / "up.log", env=environment) as process:
            wait_until(
                lambda: "Ready." in process.output() or process.exit_code() is not None,
                READY_S,
                process.output,
            )
            assert process.exit_code() is None, process.output()
            key = re.search(r"^Key +(\S+)", process.output(), re.MULTILINE)
            assert key is not None, process.output()
            services = build_services(load_settings(folder / "data"))
            try:
                yield RunningFarm(f"http://127.0.0.1:{port}", key[1], services)
            finally:
                services.dispose()


@pytest.fixture(scope="session")
def warm_farm(farm_up: RunningFarm) -> RunningFarm:
    """The farm once its worker has made a picture: no client waits for the first model."""
    key = farm_up.new_key("warm", "business", "pixapi")
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": "flux-schnell", "prompt": "a lighthouse", "size": "256x256"}
    url = f"{farm_up.base_url}/v1/async/images/generations"
    task = requests.post(url, json=body, headers=headers, timeout=30).json()

    def is_done() -> bool:
        path = f"{farm_up.base_url}/v1/jobs/{task['id']}?wait=30"
        found = requests.get(path, headers=headers, timeout=60).json()
        assert found["status"] in ("submitted", "processing", "completed"), found
        return bool(found["status"] == "completed")

    wait_until(is_done, READY_S, "the first picture is not made")
    return farm_up


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients speak to this machine; a proxy of the operator's would be asked first."""
    for name in os.environ:
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
