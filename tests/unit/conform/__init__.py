"""Tests of ``mtl_runner.conform``."""
