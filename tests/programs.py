"""Programs of the operating system that some tests need, and a certificate made with one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_CERTIFICATE_S = 60


def program(name: str, package: str, *places: str) -> str:
    """Where a program is; where it is not, the test fails in CI and is skipped at home.

    Args:
        package: what to install for it.
        places: whole paths that are looked at before PATH.
    """
    found = next((path for path in places if os.access(path, os.X_OK)), None) or shutil.which(name)
    if found is None:
        reason = f"{name} is not installed: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def self_signed(path: Path, *names: str) -> Path:
    """A certificate for these names (``DNS:…``, ``IP:…``), signed by itself.

    Args:
        path: becomes its key with the certificate behind it, all in PEM; returned.
    """
    certificate = path.with_suffix(".crt")
    subprocess.run(
        [program("openssl", "openssl"), "req", "-x509", "-newkey", "ec",
         "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
         "-subj", f"/CN={names[0].partition(':')[2]}",
         "-addext", f"subjectAltName={','.join(names)}", "-keyout", path, "-out", certificate],
        check=True, capture_output=True, timeout=_CERTIFICATE_S,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + certificate.read_bytes())
    return path
