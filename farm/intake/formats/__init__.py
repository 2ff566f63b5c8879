"""JPEG, PNG and WebP files as containers: how big, how many pictures, and without metadata.

Each format has one function, ``strip(upload)``, that reads the structure of a file in plain
Python, refuses it before anything is decoded, and puts together a file of the same kind that
holds only what makes pixels. The decoder sees that file and never the caller's.
"""
