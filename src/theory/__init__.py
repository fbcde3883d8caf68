"""The theory of the report, computed and put to the test: `python -m src.theory`."""
