"""The starter weights, what is to be known of them, and their own licence."""
