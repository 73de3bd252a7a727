"""Tests of the room of molecules."""
