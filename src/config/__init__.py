"""Settings: types, ranges, help, validation."""

from src.config.settings import setting

__all__ = ["setting"]
