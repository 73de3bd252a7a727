"""Which files stay of a finished run (``record.checkpoints``): needed without torch, too."""

from __future__ import annotations

#: Folder of a run directory with the sharded tensors of ``checkpoint.pt``, in a folder per save.
SHARDS = "shards"

# What stays of a finished run (record.checkpoints).
KEPT_FILES = {
    "both": ("checkpoint.pt", "best.pt"),
    "last": ("checkpoint.pt",),
    "best": ("best.pt",),
    "none": (),
}
