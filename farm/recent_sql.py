"""SQL for looking at each model's last jobs, however many jobs there were before them."""

from __future__ import annotations

KNOWN_MODELS = """
    WITH RECURSIVE known AS (
        (SELECT model FROM jobs WHERE state = 'succeeded' ORDER BY model LIMIT 1)
        UNION ALL
        SELECT (SELECT model FROM jobs WHERE state = 'succeeded' AND jobs.model > known.model
                ORDER BY model LIMIT 1)
        FROM known WHERE known.model IS NOT NULL
    )
"""
"""The start of a statement: ``known.model`` is each model that ever succeeded, and NULL last.
One look into the index ``(model, finished_at)`` for each model."""
