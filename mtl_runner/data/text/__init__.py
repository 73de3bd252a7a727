"""Texts as rows of word numbers."""
