"""What a run is made of: the experiment built from a config, the training step, and the parameters that are learned beside the model."""
