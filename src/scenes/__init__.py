"""The built-in caption data set: synthetic aerial scenes, captioned by a grammar."""
