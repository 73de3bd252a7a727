"""Reads run directories and makes tables and pictures of them. Knows no torch."""
