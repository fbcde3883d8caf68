"""What comes from outside, made up by the thousand: `python -m tests.fuzz --help`."""
