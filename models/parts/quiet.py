"""Silence for the model libraries' own chatter."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


def quieten() -> None:
    """Errors only, and no progress bars, from diffusers and transformers.

    Their warnings quote what they cut off an over-long prompt, and a customer's prompt does
    not belong in a log.
    """
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


@contextlib.contextmanager
def numpy_copy_warning_ignored() -> Iterator[None]:
    """Ignore one message: diffusers 0.42's schedulers hand torch tensors to ``numpy.array``,
    and torch 2.11's tensors do not know numpy 2's ``copy`` keyword yet. Harmless: numpy then
    copies."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message="__array__ implementation doesn't accept a copy keyword",
            category=DeprecationWarning,
        )
        yield
