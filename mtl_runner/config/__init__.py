"""Reading the config: where it lies, the trainer's settings, objects from nodes, and times.

The room knows no task and no model.
"""
