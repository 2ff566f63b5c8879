"""Tests. A package, because one of the engines' libraries installs a ``tests`` of its own."""
