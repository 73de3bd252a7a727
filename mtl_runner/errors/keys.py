"""Where in a config a key is that somebody has typed without its groups."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

# What people call options elsewhere.
OTHER_NAMES = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "batchsize": "batch_size",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "n_epochs": "epochs",
    "gradient_clip": "clip",
    "grad_clip": "clip",
    "max_grad_norm": "clip",
    "ema_decay": "ema",
    "accumulate_grad_batches": "accumulate",
    "gradient_accumulation_steps": "accumulate",
}
# What to type for options of Lightning, Transformers and their templates.
OF_OTHER_TOOLS = {
    "bf16": "trainer.precision=bf16",
    "fp16": "trainer.precision=fp16",
    "amp": "trainer.precision=bf16",
    "tf32": "trainer.matmul=high",
    "torch_compile": "trainer.compile",
    "accelerator": "trainer.device",
    **dict.fromkeys(("gpus", "n_gpu", "num_gpus"), "trainer.devices"),
    "strategy": "trainer.parallel",
    **dict.fromkeys(("num_workers", "dataloader_num_workers"), "data.loader.workers"),
    **dict.fromkeys(("train_batch_size", "per_device_train_batch_size"), "data.batch_size"),
    **dict.fromkeys(("num_train_epochs", "max_steps"), "trainer.epochs"),
    **dict.fromkeys(
        ("eval_steps", "eval_strategy", "evaluation_strategy"), "trainer.evaluate_every"
    ),
    **dict.fromkeys(("val_check_interval", "check_val_every_n_epoch"), "trainer.evaluate_every"),
    **dict.fromkeys(("save_steps", "save_strategy"), "trainer.checkpoint_every"),
    "load_best_model_at_end": "trainer.judge=best",
    "metric_for_best_model": "trainer.monitor",
    **dict.fromkeys(("early_stopping", "early_stopping_patience"), "trainer.patience"),
    **dict.fromkeys(("warmup_steps", "warmup_ratio"), "trainer.warmup"),
    **dict.fromkeys(("scheduler", "lr_scheduler_type"), "trainer.lr_scheduler"),
    "gradient_clip_val": "trainer.clip",
    **dict.fromkeys(("ckpt_path", "resume_from_checkpoint"), "resume=<run directory>"),
    **dict.fromkeys(("output_dir", "default_root_dir"), "hydra.run.dir"),
    **dict.fromkeys(("logger", "loggers", "report_to"), "tracker"),
    "hparams_search": "-m +search=optuna",
}
RUNNING = ("", "trainer", "data", "optimizer")  # where one looks for them here
SHOWN = 3
SHORT = 3  # characters of a name that is near to too many


def suggest_key(name: str, tree: Mapping[str, Any], above: str = "") -> str:
    """Return a question that names the keys which somebody may have meant, or an empty text.

    Args:
        name: The last part of the key that does not exist.
        tree: The part of the config in which it was looked for.
        above: The key of that part; empty for the whole config.

    Example:
        >>> tree = {"trainer": {"epochs": 9}, "optimizer": {"lr": 1}, "weighting": {"lr": 2}}
        >>> suggest_key("epochs", tree), suggest_key("learning_rate", tree)
        ('did you mean trainer.epochs?', 'did you mean optimizer.lr or weighting.lr?')
    """
    paths: dict[str, list[str]] = {}
    for path in _paths(tree, above):
        paths.setdefault(path.rpartition(".")[2], []).append(path)
    for candidate in (name, OTHER_NAMES.get(name.lower(), name)):
        if candidate in paths:
            return _question(paths[candidate])
    meant = OF_OTHER_TOOLS.get(name.lower()) if above in RUNNING else None
    if meant:
        return _question([meant])
    if len(name) < SHORT:
        return ""
    near = difflib.get_close_matches(name, list(paths), n=1, cutoff=0.75)
    return _question(paths[near[0]]) if near else ""


def _question(paths: list[str]) -> str:
    keys = sorted(paths, key=lambda path: path.count("."))[:SHOWN]
    return f"did you mean {' or '.join(keys)}?"


def _paths(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of a tree, those of Hydra and of classes left out."""
    for key, value in tree.items():
        if not isinstance(key, str) or key == "hydra" or key.startswith("_"):
            continue
        path = f"{above}.{key}" if above else key
        yield path
        if isinstance(value, Mapping):
            yield from _paths(value, path)
