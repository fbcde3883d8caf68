"""Speed against the straightforward way, and profiles: `make bench`, `make profile`."""
