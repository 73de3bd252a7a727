"""What a config says: where ours are, the settings that the trainer reads, objects from nodes, times. Knows no task and no model."""
