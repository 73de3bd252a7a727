"""Which parameters belong to which tasks, and the layout of their gradients; it knows no axis."""
