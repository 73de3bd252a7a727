"""The only code that touches private parts of torch, Hydra, OmegaConf and TorchJD."""
