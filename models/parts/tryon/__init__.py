"""Dressing somebody: what is asked (``request``); clothes found by a network (``clothes``); and
without one: silhouettes by rows (``rows``), the body in them (``body``), the garment in its
picture (``garment``), how one fits the other (``fit``) and looks when worn (``worn``)."""
