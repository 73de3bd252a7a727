"""Metrics that the datasets with an answer per pixel record, as their papers do; main one first."""

SEGMENTATION_METRICS = ("miou", "pixel_accuracy")
DEPTH_METRICS = ("abs_err", "rel_err")
NORMAL_METRICS = ("angle_mean", "angle_median", "within_11", "within_22", "within_30")
