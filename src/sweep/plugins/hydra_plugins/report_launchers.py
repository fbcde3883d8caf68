"""Where Hydra finds what stands before a launcher that is not ours; src/sweep/launcher.py chooses it."""

from src.sweep import launcher


class OtherLauncher(launcher.OtherLauncher):
    """See src/sweep/launcher.py."""
