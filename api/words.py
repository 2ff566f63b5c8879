"""Values as every dialect writes them. They are the farm's: webhooks have them too."""

from __future__ import annotations

from farm.words import credits_of, iso_time, output_url, plain_credits, receipt, unix_time

__all__ = ["credits_of", "iso_time", "output_url", "plain_credits", "receipt", "unix_time"]
