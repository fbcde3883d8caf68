"""A run: a folder with settings, checkpoints, metrics and results, and what fills it."""
