"""Reuters-21578: which of 90 topics is a news text about, and which places does it name? Two multi-label tasks on one text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.text.reuters_files import Collection, Document, read_collection
from mtl_runner.data.text.vocabulary import Vocabulary, tokenize
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.errors.checks import is_number, whole
from mtl_runner.tasks.task import Task


class Reuters:
    """The first words of title and body as numbers, with the tasks ``topics`` and ``places``, both multilabel.

    Training and test texts are those of the ModApte split (Apte, Damerau & Weiss, ACM TOIS 1994) that have at least one of the
    topics. Where the folder holds no test texts, a share of the training texts is the test split.

    Args:
        path: a folder of the original ``reut2-*.sgm``, or of ``train.jsonl`` and, if there is one, ``test.jsonl`` (or ``.jsonl.gz``;
            objects with ``title``, ``body``, ``topics`` and ``places``). ``topics90.json`` in it names the topics.
        words: how many of the training split's most frequent words are known. tokens: how many first words of a text are read.
        min_texts: a place that fewer texts of the training split name is no label; too few to learn it from, and most of the
            122 places are that rare. Topics are kept however rare, as in the papers.
        val: share of the training texts for validation. test: share for the test split, where the folder has none.
        seed: of both shares.

    Shape: inputs ``[N, tokens]`` of int64, see :class:`~mtl_runner.data.text.vocabulary.Vocabulary`; targets ``[N, labels]`` of 0 and 1.
    Raises ``ConfigError`` for an impossible option, ``DataError`` for a folder that is not as described.
    """

    def __init__(
        self,
        path: str | None,
        words: int = 10_000,
        tokens: int = 100,
        min_texts: int = 10,
        val: float = 0.1,
        test: float = 0.2,
        seed: int = 0,
    ) -> None:
        for name, number in (("words", words), ("tokens", tokens), ("min_texts", min_texts)):
            whole(number, f"data.{name}", 1)
        collection = read_collection(path)
        documents = _split(collection, val, test, seed)
        places = _frequent([document.places for document in documents["train"]], min_texts)
        if not places:
            raise DataError(
                f"No place is named by {min_texts} of the {len(documents['train'])} training texts; lower data.min_texts."
            )
        texts = {
            name: [_tokens(document, tokens) for document in part]
            for name, part in documents.items()
        }
        self.vocabulary = Vocabulary.fit(texts["train"], words)
        self.tasks = [
            Task("topics", "multilabel", classes=collection.topics),
            Task("places", "multilabel", classes=places),
        ]
        self.splits = {
            name: Split(
                self.vocabulary.encode(texts[name], tokens),
                {
                    "topics": _labels([document.topics for document in part], collection.topics),
                    "places": _labels([document.places for document in part], places),
                },
            )
            for name, part in documents.items()
        }


def _split(collection: Collection, val: float, test: float, seed: int) -> dict[str, list[Document]]:
    """Shuffle the training texts and cut off the validation share and, where there are no test texts, the test share."""
    for name, share in (("val", val), ("test", test)):
        if not is_number(share) or not 0 < share < 1:
            raise ConfigError(f"data.{name} must be a share between 0 and 1; found {share!r}.")
    documents, held_back = collection.train, 0.0 if collection.test is not None else test
    if val + held_back >= 1:
        raise ConfigError(
            f"data.val={val} and data.test={test} leave no training text; together they must be less than 1."
        )
    order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(seed)).tolist()
    n_val, n_test = round(len(documents) * val), round(len(documents) * held_back)
    rows = {
        "train": order[n_val + n_test :],
        "val": order[:n_val],
        "test": order[n_val : n_val + n_test],
    }
    parts = {name: [documents[row] for row in part] for name, part in rows.items()}
    if collection.test is not None:
        parts["test"] = collection.test
    for name, part in parts.items():
        if not part:
            raise DataError(
                f"The {name} split of {len(documents)} training texts would be empty with data.val={val} and data.test={test}."
            )
    return parts


def _tokens(document: Document, most: int) -> list[str]:
    return tokenize(f"{document.title} {document.body}", most)


def _frequent(names: Sequence[Sequence[str]], least: int) -> tuple[str, ...]:
    """The names that at least so many texts have, in the alphabet's order."""
    counts = Counter(name for row in names for name in set(row))
    return tuple(sorted(name for name, count in counts.items() if count >= least))


def _labels(names: Sequence[Sequence[str]], classes: Sequence[str]) -> Tensor:
    """One row per text with a 1 for each of its names ``[N, classes]``; names that are no class are left out."""
    column = {name: number for number, name in enumerate(classes)}
    labels = torch.zeros(len(names), len(classes))
    for row, found in enumerate(names):
        for name in found:
            if name in column:
                labels[row, column[name]] = 1.0
    return labels
