"""Images with several answers each: scikit-learn's digits, and files in MNIST's format."""
