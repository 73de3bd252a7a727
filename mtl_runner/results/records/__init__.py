"""Run directories as typed records, and the one model of a comparison made of them."""
