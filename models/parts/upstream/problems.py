"""What went wrong in one call of an upstream, and what follows from it.

The sentences made here are for the operator's log. They hold a bounded part of what the upstream
said, without the key; and none of them is chained to the client's own error, whose text, request
and headers may hold anything.
"""

from __future__ import annotations

import email.utils
import enum
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from farm.errors import ContentRefused, FarmError, UpstreamFault, UpstreamUnavailable
from models.base import UpstreamSetup
from models.parts.upstream.wire import AnswerRefused

_QUOTED_MAX = 300
_QUOTED_WORD = re.compile(r"['\"`](\w{1,40})['\"`]")
_AGAIN = frozenset({408, 409, 429})
_STILL_RUNNING = 504
"""Services whose clients may send without an Idempotency-Key ask them not to try this again. The
farm sends one: it asks about the same work once more."""
_ACCOUNT = frozenset({401, 402, 403})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_credits"})
_REFUSALS = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "contentfilter",
        "image_generation_user_error",
        "moderation_blocked",
        "prohibited_content",
        "prompt_refused",
        "responsibleaipolicyviolation",
        "result_refused",
        "safety",
    }
)
"""What services of this kind call a refusal of content, in ``code`` or ``type``."""


class Blame(enum.Enum):
    """What a problem says of the upstream as a whole."""

    NONE = "it answers"
    ONCE = "it broke: this question's fault, or its own"
    EACH = "it is not there"


@dataclass(frozen=True, slots=True)
class Problem:
    """``error`` is how the run ends, unless it is tried again.

    ``after_s`` is the least wait before that, as the upstream asks; ``blame`` counts against
    the upstream; ``unknown`` is the parameter that it does not know, if it says so.
    """

    error: FarmError
    again: bool = False
    after_s: float = 0.0
    blame: Blame = Blame.NONE
    unknown: str = ""


def understood(error: Exception, setup: UpstreamSetup) -> Problem | None:
    """What an exception of a call means; None for one that is no answer of an upstream's."""
    name = setup.name
    if isinstance(error, openai.APITimeoutError):
        lost = UpstreamUnavailable(f"{name} did not answer within {setup.timeout_s:g} s.")
        return Problem(lost, again=True, blame=Blame.EACH)
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, setup)
    if isinstance(error, openai.APIConnectionError):
        kind = type(error.__cause__).__name__
        lost = UpstreamUnavailable(f"The connection to {name} failed ({kind}).")
        return Problem(lost, again=True, blame=Blame.EACH)
    if isinstance(error, AnswerRefused):
        return Problem(UpstreamFault(f"{name}: {error}."), blame=Blame.ONCE)
    return None


def refused(code: object, kind: object) -> bool:
    """Whether an error's ``code`` or ``type`` says that a content policy refuses something."""
    return _is_one_of(_REFUSALS, code, kind)


def quoted(said: object, key: str) -> str:
    """A bounded part of what an upstream said, on one line and without the key."""
    words = said if isinstance(said, str) else ""
    words = "".join(c if c.isprintable() else " " for c in words.replace(key, "[the key]"))
    return f"{words[:_QUOTED_MAX]!r}" if words.strip() else "nothing"


def _of_status(error: openai.APIStatusError, setup: UpstreamSetup) -> Problem:
    status, name = error.status_code, setup.name
    body = _body(error.body)
    code, kind = body.get("code"), body.get("type")
    if status < 500 and refused(code, kind):
        return Problem(ContentRefused(f"{name} refuses it by its content policy."))
    if status in _ACCOUNT or _is_one_of(_NO_CREDIT, code, kind):
        return Problem(
            UpstreamFault(
                f"{name} answered with status {status}: it does not take the farm's key, or the "
                "account behind it may not do this. Look at the key's variable and the account."
            )
        )
    said = f"{name} answered with status {status} and said {quoted(body.get('message'), setup.key)}"
    if error.response.headers.get("x-should-retry") == "false" and status != _STILL_RUNNING:
        return Problem(UpstreamFault(f"{said}, and not to ask again."), blame=Blame.ONCE)
    if status in _AGAIN or status >= 500:
        after_s = _retry_after_s(error.response.headers)
        blame = Blame.EACH if status > 500 else Blame.ONCE if status == 500 else Blame.NONE
        return Problem(UpstreamUnavailable(f"{said}."), True, after_s, blame)
    return Problem(UpstreamFault(f"{said}."), unknown=_parameter(body) if status == 400 else "")


def _is_one_of(known: frozenset[str], *words: object) -> bool:
    return any(isinstance(word, str) and word.lower() in known for word in words)


def _body(body: object) -> Mapping[str, Any]:
    """The error as an object; some services put it into a list of one."""
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], dict):
        body = body[0].get("error", body[0])
    return body if isinstance(body, dict) else {}


def _parameter(body: Mapping[str, Any]) -> str:
    """The parameter that an error is about: as it says, or the first word that it quotes."""
    if isinstance(param := body.get("param"), str):
        return param
    message = body.get("message")
    found = _QUOTED_WORD.search(message) if isinstance(message, str) else None
    return found[1] if found else ""


def _retry_after_s(headers: httpx2.Headers) -> float:
    """Seconds, from a number of them or a date (RFC 9110, 10.2.3); 0 where there is neither."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
