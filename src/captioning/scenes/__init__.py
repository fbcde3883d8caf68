"""The built-in caption data set: drawn scenes as seen from the air, captioned by a grammar.

Synthetic: a score on it says nothing about photographs, and is shown with that word beside it.
"""

from src.captioning.scenes.dataset import ScenesMismatch, make_scenes

__all__ = ["ScenesMismatch", "make_scenes"]
