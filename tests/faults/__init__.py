"""Tests that break a whole farm. A package, so that its farms end with the last of these tests."""
