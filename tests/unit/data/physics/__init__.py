"""Tests of the physics-informed problems."""
