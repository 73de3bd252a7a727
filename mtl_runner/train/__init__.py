"""The loop: epochs and steps, evaluation, the best model, checkpoints and metrics.csv."""
