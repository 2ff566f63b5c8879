"""``farm doctor``: is everything here that the farm needs, and what to type where it is not.

Read ``command.py`` first; the other files look at the servers, the setup, the work and the books.
"""

from farm.cli.doctor.command import doctor

__all__ = ["doctor"]
