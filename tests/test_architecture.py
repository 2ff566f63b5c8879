"""The sentences of the architecture that import contracts cannot check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from farm.catalog import built_in_catalog

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("api", "farm", "models", "tasks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def loaded_by(module: str) -> set[str]:
    """The top-level modules that importing this one brings, in a fresh process."""
    script = (
        f"import {module}, sys; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["api.app", "farm.cli", "models.registry", "models.base"])
def test_torch_stays_out(module: str) -> None:
    assert loaded_by(module) & {"torch", "diffusers", "transformers"} == set()


def test_every_model_of_the_catalogue_has_an_engine_and_the_other_way_round() -> None:
    from models.registry import engine_ids

    assert set(engine_ids()) == set(built_in_catalog().models)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


def reads_environment(tree: ast.Module) -> bool:
    """True when ``os.environ`` or ``os.getenv`` is used for more than setting a variable."""
    written = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in ("environ", "getenv")
        and id(node) not in written
        for node in ast.walk(tree)
    )


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "tests"
        and reads_environment(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert readers == {"farm/config.py"}


@pytest.mark.parametrize("package", ["farm", "api", "tasks", "models"])
def test_each_package_says_what_lives_in_it(package: str) -> None:
    lines = (ROOT / package / "README.md").read_text(encoding="utf-8").strip().splitlines()
    assert 3 <= len(lines) <= 12


def test_every_task_name_is_registered_and_no_other() -> None:
    from farm.config import Settings
    from farm.messages import TASKS
    from tasks.registration import build

    app, _ = build(
        Settings(DATABASE_URL="postgresql://nobody@nowhere/farm", BROKER_URL="redis://nowhere/0")
    )
    assert {name for name in app.tasks if not name.startswith("celery.")} == set(TASKS)
