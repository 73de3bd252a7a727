"""Images with an answer at every pixel: drawn scenes, NYUv2, Cityscapes."""
