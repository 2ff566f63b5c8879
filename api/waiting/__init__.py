"""Clients that wait: for a job's end, or for everything that happens to it.

A web process has a few dozen threads, and a thousand clients may wait. So a client that is to
wait is taken off its thread, with its connection, and sits in the process's one waiting room
(``room``): one event loop with one Redis subscription (``feed``), which reads jobs from
PostgreSQL many at a time. What a client is told, and when, is
decided in ``guests``; how its connection is taken over is in ``handover``.
"""
