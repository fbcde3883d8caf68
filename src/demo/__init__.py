"""A local page for trying trained models: `python -m src.demo models=[RUN,...]`."""
