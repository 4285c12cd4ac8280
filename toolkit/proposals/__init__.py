"""Votes, clusters and abstentions: from neighbours to proposed labels."""
