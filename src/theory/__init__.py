"""The theory of the report, computed and checked: `python -m src.theory`."""
