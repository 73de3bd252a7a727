"""Image files as a multi-task problem: with a table of labels, or one folder per class."""
