"""Many runs of the classifier trained as one: their weights stacked, every step a few large operations."""
