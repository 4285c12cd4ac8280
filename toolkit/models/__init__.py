"""Neighborhood attention and the networks that are built from it."""
