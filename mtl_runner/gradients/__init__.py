"""Which parameters belong to which tasks, and the form in which their gradients are kept. Knows no axis."""
