"""Networks of timm, torchvision and Hugging Face, from inputs to features and feature maps."""
