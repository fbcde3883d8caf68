"""Kill sweeps at every kind of moment, start them again, and compare the end with an undisturbed sweep's."""
