"""The page that walks through the report, from finished runs: `python -m src.report`."""
