"""The one place where Hydra takes launchers and sweepers from; `as_plugin` (src/sweep/launcher.py) puts them here."""
