"""Nearest neighbours: what a search vector is made of, and exact search."""
