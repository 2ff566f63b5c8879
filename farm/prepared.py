"""Statements on the hot path: parsed and planned by PostgreSQL once per connection.

A submit and a status poll are one statement each, always the same. Planning the submit's
costs PostgreSQL about as much as running it, and SQLAlchemy's result handling costs more CPU
than the rest of a poll; both are skipped here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PARAMETER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)\b")


class Prepared:
    """One statement with named parameters (``:name``), each of a stated PostgreSQL type.

    Args:
        name: unique among all prepared statements of the process.
        types: parameter name -> type; those left out are ``text``.
    """

    def __init__(self, name: str, sql: str, types: Mapping[str, str]) -> None:
        self.name = name
        parameters = list(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {parameter: number for number, parameter in enumerate(parameters, start=1)}
        body = _PARAMETER.sub(lambda match: f"${numbers[match[1]]}", sql)
        kinds = ", ".join(types.get(parameter, "text") for parameter in parameters)
        values = ", ".join(f"%({parameter})s" for parameter in parameters)
        self.prepare = f"PREPARE {name}{f' ({kinds})' if kinds else ''} AS {body}"
        self.execute = f"EXECUTE {name}{f' ({values})' if values else ''}"
