"""``python -m tests.faults.trial.inside MODULE …``: a program of the farm with what a trial adds.

The trial engine in place of two models, crash points that files arm, guards taken out by name;
then the program itself, in this process, so that whatever it forks has them too.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from pathlib import Path

from farm import crash_points
from farm.config import load_settings, make_folder
from models import base, registry
from tests.faults.trial import guards
from tests.faults.trial.catalogue import MODELS
from tests.faults.trial.engine import FOLDER
from tests.faults.trial.points import Points

ROLE = "FAULTS_ROLE"
DISARMED = "FAULTS_DISARMED"
"""Names of :data:`tests.faults.trial.guards.GUARDS` that are taken out, spaces between."""


def main() -> None:
    """Prepare this process and become the program."""
    module, *arguments = sys.argv[1:]
    for model in MODELS:
        registry._ENGINES[model] = registry._TWINS[model] = "tests.faults.trial.engine:TrialEngine"
    # Asking for the device imports torch; a child that is replaced often should start at once.
    base.pick_device = lambda: base.CPU
    # Guards first: nobody dies at a point before they are as they should be.
    crash_points.arm(guards.Follower(), Points(Path(os.environ[FOLDER]), os.environ[ROLE]))
    for name in os.environ.get(DISARMED, "").split():
        guards.take_out(name)
    if module == "gunicorn":
        _import_web()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _import_web() -> None:
    """What a web process imports, before it is forked: one that is replaced starts at once."""
    from api.wsgi import METRICS_FOLDER

    folder = make_folder(load_settings().data / METRICS_FOLDER)
    # As api.wsgi does it: prometheus_client looks once.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    importlib.import_module("api.app")


if __name__ == "__main__":
    main()
