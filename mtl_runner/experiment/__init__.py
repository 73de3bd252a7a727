"""The parts of a run: the experiment built from a config, and the training step."""
