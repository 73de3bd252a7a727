"""Problems whose truth is known: noisy lines, mixed kinds, functions of a point."""
