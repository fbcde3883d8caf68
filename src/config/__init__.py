"""Settings: types, ranges, help, validation."""

from src.config.fields import setting

__all__ = ["setting"]
