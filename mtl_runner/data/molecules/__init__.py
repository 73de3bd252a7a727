"""Molecules: quantum-chemical properties, and what describes a molecule to a network."""
