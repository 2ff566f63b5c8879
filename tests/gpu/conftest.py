"""Tests in this folder need a CUDA device, and say so where there is none."""

from __future__ import annotations

import pytest

from tests.contracts.engine import engine, tiny_cache

__all__ = ["engine", "tiny_cache"]


@pytest.fixture(scope="session", autouse=True)
def cuda() -> None:
    """Skip where torch sees no CUDA device."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
