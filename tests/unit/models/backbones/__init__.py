"""Tests of the networks of other libraries."""
