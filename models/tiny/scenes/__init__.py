"""Captioned scenes of simple things: what the tiny checkpoints are taught, and asked for.

A :class:`~models.tiny.scenes.plan.Scene` says what is where. ``sampling`` makes one up, ``draw``
paints it at any size, ``captions`` says it in words; nothing here knows of a model.
"""
