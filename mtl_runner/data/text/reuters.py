"""Reuters-21578: which topics is a news text about, and which places does it name?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_runner.data.dataset import Split
from mtl_runner.data.text.reuters_files import Collection, Document, read_collection
from mtl_runner.data.text.vocabulary import Vocabulary, tokenize
from mtl_runner.errors import ConfigError, DataError
from mtl_runner.errors.checks import is_number, whole_number
from mtl_runner.tasks.task import Task


class Reuters:
    """News texts with two multilabel tasks, the 90 ``topics`` and the frequent ``places``.

    Inputs are the numbers of the first words of title and body. Training and test texts are those
    of the ModApte split (Apte, Damerau & Weiss, ACM TOIS 1994) that have at least one of the
    topics. Where the folder holds no test texts, a share of the training texts is the test split.

    Args:
        path: A folder of the original ``reut2-*.sgm``, or of ``train.jsonl`` and, if there is one,
            ``test.jsonl`` (or ``.jsonl.gz``), whose lines are objects with ``title``, ``body``,
            ``topics`` and ``places``. ``topics90.json`` in it names the topics.
        words: How many of the training split's most frequent words are known.
        tokens: How many first words of a text are read.
        min_texts: A place that fewer texts of the training split name is no label: too few to learn
            it from, and most of the 122 places are that rare. Topics are kept however rare, as in
            the papers.
        val: Share of the training texts for validation.
        test: Share of the training texts for the test split, where the folder has no test texts.
        seed: Seed of both shares.

    Shape:
        Inputs ``[N, tokens]`` of int64, see :class:`~mtl_runner.data.text.vocabulary.Vocabulary`;
        targets ``[N, labels]`` of 0 and 1.

    Raises:
        ConfigError: If an option is impossible.
        DataError: If the folder is not as described, or a split would be empty.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from mtl_runner.data import Reuters
        >>> text = {"title": "Oil", "body": "up", "topics": ["crude"], "places": ["usa"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "train.jsonl").write_text(20 * (json.dumps(text) + chr(10)))
        ...     data = Reuters(folder, tokens=4)
        >>> [(task.name, task.classes) for task in data.tasks]
        [('topics', ('crude',)), ('places', ('usa',))]
        >>> data.splits["val"].inputs
        tensor([[2, 3, 0, 0],
                [2, 3, 0, 0]])
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
            whole_number(number, f"data.{name}", 1)
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
    """Return the texts of each split: shares of the shuffled training texts, and the test texts."""
    for name, share in (("val", val), ("test", test)):
        if not is_number(share) or not 0 < share < 1:
            raise ConfigError(f"data.{name} must be a share between 0 and 1; found {share!r}.")
    documents, test_share = collection.train, 0.0 if collection.test is not None else test
    if val + test_share >= 1:
        raise ConfigError(
            f"data.val={val} and data.test={test} leave no training text; together they must be less than 1."
        )
    order = torch.randperm(len(documents), generator=torch.Generator().manual_seed(seed)).tolist()
    n_val, n_test = round(len(documents) * val), round(len(documents) * test_share)
    rows_of = {
        "train": order[n_val + n_test :],
        "val": order[:n_val],
        "test": order[n_val : n_val + n_test],
    }
    splits = {name: [documents[row] for row in rows] for name, rows in rows_of.items()}
    if collection.test is not None:
        splits["test"] = collection.test
    for name, split in splits.items():
        if not split:
            raise DataError(
                f"The {name} split of {len(documents)} training texts would be empty with data.val={val} and data.test={test}."
            )
    return splits


def _tokens(document: Document, limit: int) -> list[str]:
    return tokenize(f"{document.title} {document.body}", limit)


def _frequent(names: Sequence[Sequence[str]], min_texts: int) -> tuple[str, ...]:
    """Return the names that at least so many texts have, in the order of the alphabet."""
    counts = Counter(name for text_names in names for name in set(text_names))
    return tuple(sorted(name for name, count in counts.items() if count >= min_texts))


def _labels(names: Sequence[Sequence[str]], classes: Sequence[str]) -> Tensor:
    """Return a row per text with a 1 for each of its names that is a class, ``[N, classes]``."""
    columns = {name: column for column, name in enumerate(classes)}
    labels = torch.zeros(len(names), len(classes))
    for row, text_names in enumerate(names):
        for name in text_names:
            if name in columns:
                labels[row, columns[name]] = 1.0
    return labels
