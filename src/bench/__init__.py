"""How fast the stack is, as ratios against baselines measured beside it in the same run."""
