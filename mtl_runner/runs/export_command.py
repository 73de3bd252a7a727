"""``mtl-export``: a trained model for other programs, with a card that says what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl_runner.config.working_directory import search_working_directory
from mtl_runner.errors.command_line import CommandParser
from mtl_runner.files import write_atomic, write_json
from mtl_runner.runs.exported_model import FORMATS, TOLERANCE
from mtl_runner.runs.model_card import model_card
from mtl_runner.runs.predictor import load

CARD, PREPROCESSING = "README.md", "preprocessing.json"
MEANINGS = {
    "onnx": "the model as an ONNX file",
    "torch": "the model as a program of `torch.export`",
    "safetensors": "the weights, under the names of the model's `state_dict`",
}


def main(arguments: Sequence[str]) -> None:
    """Parse the arguments, export the model, check it, and write its files.

    Raises:
        MtlError: If the run cannot be loaded, or the model cannot be exported.
    """
    parser = CommandParser(
        prog="mtl-export",
        description="A trained model for other programs, with a card (README.md) that says what it is. Before anything is written, the exported model is compared with the original.",
        epilog="Example: mtl-export outputs/my_run --to onnx",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory")
    parser.add_argument(
        "--to",
        choices=tuple(FORMATS),
        required=True,
        help="onnx: for ONNX Runtime and others; torch: a torch.export program, which needs torch alone; safetensors: the weights",
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="the folder to write; default: RUN/export"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package or module of your own whose code the model needs; may be repeated",
    )
    options = parser.parse_args(arguments)
    if options.trust:
        search_working_directory()
    predictor = load(options.run, trust=options.trust)
    name, export = FORMATS[options.to]
    content = export(predictor)
    folder = options.output or options.run / "export"
    files = {name: MEANINGS[options.to], CARD: "this card"}
    if predictor.preprocessing is not None:
        files[PREPROCESSING] = "how inputs are made"
    card = model_card(options.run, predictor, options.to, files)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / name, content)
    if predictor.preprocessing is not None:
        write_json(folder / PREPROCESSING, plain(predictor.preprocessing))
    write_atomic(folder / CARD, card.encode())
    print(
        f"{name} answers as the run does (checked on random inputs, to {TOLERANCE:g} of a target's scale); {CARD} says what it is."
    )
    print(folder)


def plain(value: Any) -> Any:
    """Return preprocessing as JSON can hold it: whatever it does not know becomes text.

    Example:
        >>> plain({"size": (2, 2), "of": Path("a")})
        {'size': [2, 2], 'of': 'a'}
    """
    return json.loads(json.dumps(value, default=str))
