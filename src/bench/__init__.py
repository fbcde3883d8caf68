"""Speed against the straightforward way: `make bench`."""
