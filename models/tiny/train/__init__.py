"""How the trained miniatures came to be, and come to be again: ``python -m models.tiny.train``."""
