"""Measure what vectors and boxes are worth on labelled images."""
