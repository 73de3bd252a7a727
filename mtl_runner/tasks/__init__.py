"""Tasks: what an output is for, its standard loss and its metrics. Knows no model, weighting or file."""
