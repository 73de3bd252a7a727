"""Tests of the study of transfer."""
