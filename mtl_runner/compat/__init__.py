"""The only code that touches private parts of torch, Hydra, OmegaConf and TorchJD.

``tests/unit/compat`` shows for the installed versions that these parts are still there.
"""
