"""Tasks: what an output is for, its standard loss and its metrics.

The room knows no model, no weighting and no file.
"""
