"""Splits that are read item by item, from a ``torch.utils.data.Dataset`` of any size."""
