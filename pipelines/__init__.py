"""The commands of dinotool: the only place where stages meet."""
