"""The card of a trained model in Markdown: data, tasks, metrics, and how it was trained."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mtl_runner.errors import RunDirectoryError
from mtl_runner.results.records.summary import as_float, mapping
from mtl_runner.results.text import number
from mtl_runner.runs.answers import describe_answer, has_probabilities, shape_text
from mtl_runner.runs.predictor import Predictor
from mtl_runner.runs.records import read_config, read_identity, read_summary
from mtl_runner.version import __version__

# Options that say on which machine a run trained, and not what.
PLACE = re.compile(r"(?<==)(~|[A-Za-z]:)?[/\\](.*[/\\])?")
CHOICES = ("model", "likelihood", "weighting", "schedule", "update", "optimizer")
USE = {
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
names = [output.name for output in session.get_outputs()]
answers = dict(zip(names, session.run(names, {inputs})))""",
    "torch": """import torch

model = torch.export.load("model.pt2").module()
answers = model({tensors})""",
    "safetensors": """from safetensors.torch import load_file

weights = load_file("model.safetensors")  # the state_dict of the {model}""",
}


def model_card(run: Path, predictor: Predictor, form: str, files: Mapping[str, str]) -> str:
    """Return the card of a model.

    Args:
        run: Its run directory.
        predictor: The model, loaded.
        form: The format in which it was exported.
        files: What each file of the folder holds.

    Raises:
        RunDirectoryError: If a newer version wrote the run.
    """
    summary = read_summary(run)
    name = str(summary.get("name") or run.name)
    parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    tasks = ", ".join(f"`{task.name}`" for task in predictor.tasks)
    contents = [[f"`{file}`", meaning] for file, meaning in files.items()]
    sections = [
        "---\nlibrary_name: pytorch\ntags:\n- multi-task-learning\n- mtl-runner\n---",
        f"# {name}",
        f"A model with {parameters:,} parameters ({type(predictor.model).__name__}) that answers {tasks}, trained by mtl-runner {_version(summary)}.",
        "## Files\n\n" + _table(["file", "what"], contents),
        "## Input\n\n" + _inputs(predictor),
        "## Output\n\n" + _outputs(predictor, form),
        "## Use\n\n```python\n" + _use(predictor, form) + "\n```",
        "## Metrics\n\n" + _metrics(summary),
        "## Data\n\n" + _data(run, summary),
        "## Training\n\n" + _training(run, summary),
        "## Limits\n\n" + _limits(predictor),
    ]
    return "\n\n".join(sections) + "\n"


def _version(summary: Mapping[str, Any]) -> str:
    return str(mapping(summary.get("versions")).get("mtl_runner", __version__))


def _inputs(predictor: Predictor) -> str:
    text = f"Tensors {shape_text(predictor.input_shape)}."
    if predictor.features is not None:
        text += f" They are made of {predictor.describe_inputs()} as `preprocessing.json` says: per column (value - `mean`) / `scale`, a missing number as `fill` and, with `indicator`, 1 behind it; for `categories` a 0 or 1 each. In Python: `mtl_runner.load(run).features.transform(table)`."
    elif predictor.image_reader is not None:
        text += " An image is scaled so that it covers `size`, cut at the centre, divided by 255, less `mean`, divided by `std` of each channel (`preprocessing.json`)."
    return text


def _outputs(predictor: Predictor, form: str) -> str:
    rows = []
    for task in predictor.tasks:
        if form == "safetensors":
            meaning = (
                f"times {task.scale:.6g} plus {task.offset:.6g}" if task.spec.numeric else "logits"
            )
            rows.append([f"`{task.name}`", describe_answer(task), meaning])
            continue
        classes = has_probabilities(task)
        rows.append(
            [
                f"`{task.name}.probability`" if classes else f"`{task.name}`",
                describe_answer(task),
                "one probability per class, in this order" if classes else "in the target's units",
            ]
        )
        if predictor.has_noise_scale(task):
            scale = predictor.noise_scales.get(task.name)
            learned = "predicted per row" if scale is None else f"{scale:.6g}"
            rows.append(
                [
                    f"`{task.name}.sigma`, `.low`, `.high`",
                    "noise scale, 95 % interval",
                    learned,
                ]
            )
    return _table(["output", "what", "meaning"], rows)


def _use(predictor: Predictor, form: str) -> str:
    shape = predictor.input_shape
    names = list(shape) if isinstance(shape, dict) else ["inputs"]
    return (
        USE[form]
        .replace("{inputs}", "{" + ", ".join(f'"{name}": {name}' for name in names) + "}")
        .replace("{tensors}", ", ".join(names))
        .replace("{model}", type(predictor.model).__name__)
    )


def _metrics(summary: Mapping[str, Any]) -> str:
    """Return the metrics of the best epoch, whose weights these are."""
    rows = []
    for name, task in mapping(summary.get("tasks")).items():
        splits = mapping(mapping(task).get("best"))
        val, test = mapping(splits.get("val")), mapping(splits.get("test"))
        rows += [
            [f"`{name}`", metric, number(as_float(val[metric])), number(as_float(test.get(metric)))]
            for metric in val
        ]
    if not rows:
        return "The run has not finished, so that no metrics were recorded."
    return (
        "Of the best epoch by the monitor on validation; test was looked at once. `relative_loss` is the loss over that of the best constant answer.\n\n"
        + _table(["task", "metric", "validation", "test"], rows)
    )


def _data(run: Path, summary: Mapping[str, Any]) -> str:
    config = _config(run)
    node = config.get("data")
    choice = mapping(summary.get("choices")).get("data", "")
    lines = [f"- dataset: `{choice}`"] if choice else []
    for key in ("path", "labels", "targets", "features", "split", "augment"):
        value = node.get(key) if isinstance(node, dict) else None
        if value is not None:
            text = (
                Path(value).name if key in ("path", "labels") and isinstance(value, str) else value
            )
            lines.append(f"- {key}: `{text}`")
    return "\n".join(lines) or "Not recorded."


def _training(run: Path, summary: Mapping[str, Any]) -> str:
    try:
        identity = read_identity(run)
    except RunDirectoryError:
        identity = {"overrides": [], "choices": {}}
    choices, monitor = mapping(identity["choices"]), mapping(summary.get("monitor"))
    lines = [f"- {group}: `{choices[group]}`" for group in CHOICES if choices.get(group)]
    if summary.get("epochs"):
        best = monitor.get("best_epoch")
        s = "s" * (summary["epochs"] != 1)
        lines.append(
            f"- {summary['epochs']} epoch{s}, {summary.get('steps')} steps; the weights are those of epoch {best} ({monitor.get('name')} {number(as_float(monitor.get('best')))})"
        )
    lines.append(f"- seed: {summary.get('seed')}")
    versions = ", ".join(f"{k} {v}" for k, v in mapping(summary.get("versions")).items())
    if versions:
        lines.append(f"- versions: {versions}; device: {summary.get('device')}")
    text = "\n".join(lines)
    if identity["overrides"]:
        words = " ".join(
            shlex.quote(PLACE.sub("", str(word).removeprefix("++")))
            for word in identity["overrides"]
        )
        text += f"\n\n```bash\nmtl-run {words}\n```\n\nPaths are shortened to their last part."
    return text


def _limits(predictor: Predictor) -> str:
    lines = ["- The metrics hold for new rows of the same source; nothing is known of others."]
    if any(map(predictor.has_noise_scale, predictor.tasks)):
        lines.append(
            "- An interval knows the learned noise of the targets, not the errors of the model: compare it with residuals of your own before you rely on it."
        )
    if predictor.features is not None and predictor.features.category_blocks():
        lines.append("- A category that no training row had counts as missing.")
    return "\n".join(lines)


def _config(run: Path) -> dict[str, Any]:
    """Return the recorded config with interpolations as text; empty if there is none."""
    try:
        config: Any = OmegaConf.to_container(read_config(run), resolve=False)
    except RunDirectoryError:
        return {}
    return config if isinstance(config, dict) else {}


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )
