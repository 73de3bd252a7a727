"""The pictures of a run and of a comparison: what they show, and how it is drawn."""
