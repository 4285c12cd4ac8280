"""Vectors of images and regions, and the shards that keep them."""
