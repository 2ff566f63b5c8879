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


# Money: only where the books' own rows are in sight ------------------------------------------

MONEY = {"settle", "ledger", "cancel", "succeed", "fail", "block", "reap", "expire_queued"}
"""What a handler of a Celery signal must neither name nor reach."""
CELERYS_WORD = {
    *("AsyncResult", "GroupResult", "ResultSet", "link_error", "allow_join_result"),
    *("on_success", "on_failure", "on_retry", "after_return"),
}
"""How Celery tells that a task has ended: by its own opinion, without a fence."""


def modules(*words: str) -> dict[str, ast.Module]:
    """The syntax tree of each module of the farm that has one of these words, by path."""
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "tests"
    }
    return {
        str(path.relative_to(ROOT)): ast.parse(text)
        for path, text in texts.items()
        if any(word in text for word in words)
    }


def names_in(node: ast.AST) -> set[str]:
    """Every name that a piece of code mentions: variables, attributes, imports, arguments."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif isinstance(part, ast.Attribute):
            found.add(part.attr)
        elif isinstance(part, ast.alias):
            found.update(part.name.split("."))
        elif isinstance(part, ast.keyword) and part.arg:
            found.add(part.arg)
        elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(part.name)
    return found


def signal_handlers(tree: ast.Module) -> set[str]:
    """The functions that a module connects to a Celery signal, by name."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("celery")
        for alias in node.names
    }

    def is_connect(node: ast.AST) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr == "connect"
            and bool(names_in(node.value) & (imported | {"signals"}))
        )

    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and is_connect(node.func):
            found |= {name for given in node.args[:1] for name in names_in(given)} - {"self"}
        elif isinstance(node, ast.FunctionDef) and any(
            is_connect(part.func if isinstance(part, ast.Call) else part)
            for part in node.decorator_list
        ):
            found.add(node.name)
    return found


def reached_from(tree: ast.Module, names: set[str]) -> set[str]:
    """What functions of a module mention, and those of its functions that they call."""
    functions: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.setdefault(node.name, set()).update(names_in(node))
    found, waiting = set(names), list(names)
    while waiting:
        new = functions.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def taken_from_farm(tree: ast.Module, module: str) -> set[str]:
    """The names that a module uses of ``farm.<module>``, however it imports them."""
    found: set[str] = set()
    known = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == f"farm.{module}":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "farm":
            known |= {alias.asname or alias.name for alias in node.names if alias.name == module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name == f"farm.{module}"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.attr} if node.value.id in known else set()
    return found


def late_acknowledgements(tree: ast.Module) -> list[int]:
    """The lines that ask a broker to keep a message until its task has ended."""
    found = []
    for node in ast.walk(tree):
        pairs: list[tuple[object, ast.AST | None]] = []
        if isinstance(node, ast.keyword):
            pairs = [(node.arg, node.value)]
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            pairs = list(zip(keys, node.values, strict=True))
        elif isinstance(node, ast.Attribute):
            pairs = [(node.attr, None)]
        for name, value in pairs:
            is_off = isinstance(value, ast.Constant) and value.value is False
            if isinstance(name, str) and "acks_late" in name and not is_off:
                found.append(node.lineno)
    return found


def test_celery_is_told_to_keep_no_results_and_to_acknowledge_early() -> None:
    from farm.config import Settings
    from tasks.registration import build

    for broker in ("redis://nowhere/0", "amqp://nowhere//"):
        app, _ = build(Settings(DATABASE_URL="postgresql://nobody@nowhere/farm", BROKER_URL=broker))
        assert app.conf.result_backend is None
        assert app.conf.task_ignore_result is True
        assert app.conf.task_acks_late is False
        assert app.conf.task_reject_on_worker_lost is False
        for name, task in app.tasks.items():
            if not name.startswith("celery."):
                assert (task.acks_late, task.ignore_result) == (False, True), name


def test_no_signal_result_or_acknowledgement_of_celery_moves_money() -> None:
    handlers = 0
    for path, tree in modules("signals", "acks_late", *CELERYS_WORD).items():
        names = signal_handlers(tree)
        handlers += len(names)
        assert reached_from(tree, names) & MONEY == set(), path
        assert names_in(tree) & CELERYS_WORD == set(), path
        assert late_acknowledgements(tree) == [], path
    # Those that there are were seen.
    assert handlers >= 4


SAMPLE = """
from celery import signals
from celery.signals import task_success as done
from farm import settle as ends
from farm.ledger import grant

def pay(job):
    ends.succeed(job)

def follow(app):
    def heard(**_):
        pay(_["job"])
    signals.task_postrun.connect(heard, weak=False)

@done.connect
def quietly(**_):
    log()

class Watcher:
    def start(self):
        signals.task_failure.connect(self._failed)
    def _failed(self, **_):
        refund()

@app.task(acks_late=True)
def run():
    return AsyncResult("1")

app.conf.update({"task_acks_late": True, "x_acks_late": False})
app.conf.task_acks_late = True
"""


def test_what_must_not_be_would_be_found() -> None:
    tree = ast.parse(SAMPLE)
    assert signal_handlers(tree) == {"heard", "quietly", "_failed"}
    assert reached_from(tree, {"heard"}) & MONEY == {"succeed"}
    assert reached_from(tree, {"quietly", "_failed"}) & MONEY == set()
    assert names_in(tree) & CELERYS_WORD == {"AsyncResult"}
    assert len(late_acknowledgements(tree)) == 3
    assert taken_from_farm(tree, "settle") == {"succeed"}
    assert taken_from_farm(tree, "ledger") == {"grant"}


def test_only_these_end_jobs_and_only_these_move_credits() -> None:
    """Another one is a decision: it must be fenced by the job's row, and audited."""
    found = modules("settle", "ledger")
    enders = {
        path: names for path, tree in found.items() if (names := taken_from_farm(tree, "settle"))
    }
    assert enders == {
        "api/jobs.py": {"cancel"},
        "farm/cli/jobs.py": {"cancel"},
        "farm/cli/styles.py": {"cancel"},
        "farm/previews.py": {"cancel"},
        "tasks/failures.py": {"block", "fail"},
        "tasks/generate.py": {"block", "freed", "succeed"},
        "tasks/heartbeat.py": {"PATIENCE_S"},
        "tasks/sweep.py": {"expire_queued", "reap"},
    }
    movers = {path for path, tree in found.items() if taken_from_farm(tree, "ledger")}
    assert movers == {
        *("farm/accounts.py", "farm/inputs.py", "farm/settle.py", "farm/submit_sql.py"),
        *("farm/cli/ledger.py", "farm/cli/styles.py"),
    }
