"""The built-in caption data set: synthetic aerial scenes, captioned by a grammar."""

from src.scenes.dataset import ScenesMismatch, make_scenes

__all__ = ["ScenesMismatch", "make_scenes"]
