"""The page that walks through the report, made from finished runs: `python -m src.report`."""
