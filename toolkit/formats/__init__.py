"""Annotation files of other tools: read, write, validate."""
