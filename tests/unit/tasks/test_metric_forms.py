"""Metrics of both forms against scikit-learn, on batches of any size; torchmetrics of the user's; directions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor, nn

from mtl_runner.data.dataset import Split
from mtl_runner.errors import ConfigError
from mtl_runner.experiment.build import make_metrics
from mtl_runner.tasks.kinds import KINDS, MISSING_CLASS
from mtl_runner.tasks.metrics import Metric
from mtl_runner.tasks.metrics.torchmetrics_adapter import TorchMetric
from mtl_runner.tasks.task import Task
from mtl_runner.train.evaluation import Monitor
from tests.support.builders import QUICK, evaluated

pytestmark = pytest.mark.usefixtures("float64")

seeds = st.integers(0, 10_000)
sizes = st.integers(1, 45)  # rows of a batch, of the 40 there are
ROWS = 40


class Given(nn.Module):
    """A model that answers what it is given, one tensor per task."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.outputs = outputs
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {name: output[inputs[:, 0].long()] for name, output in self.outputs.items()}


def values_of(task: Task, output: Tensor, target: Tensor, batch: int) -> dict[str, float]:
    """What an evaluation by so many rows at a time says of one task."""
    split = Split(torch.arange(len(target)).unsqueeze(1), {task.name: target})
    return evaluated(Given({task.name: output}), [task], split, rows=batch).values[task.name]


def every(kind: str, *names: str) -> tuple[str, ...]:
    """The usual metrics of a kind and others by name."""
    return (*(metric.name for metric in KINDS[kind].metrics), *names)


@QUICK
@given(
    seed=seeds,
    batch=sizes,
    classes=st.sampled_from([2, 3, 5]),
    gap=st.sampled_from([0.0, 0.3]),
    ties=st.booleans(),
)
def test_metrics_of_classes_are_scikit_learns(
    seed: int, batch: int, classes: int, gap: float, ties: bool
) -> None:
    """Breaks if a metric depends on how a split is cut into batches, or counts a missing label."""
    random = np.random.default_rng(seed)
    target = random.integers(0, classes, ROWS)
    target[: 2 * classes] = np.repeat(np.arange(classes), 2)  # all occur
    known = random.random(ROWS) >= gap
    known[: 2 * classes] = True
    logits = random.normal(size=(ROWS, classes))
    logits = logits.round() if ties else logits
    task = Task(
        "t", "classification", size=classes, missing=gap > 0,
        metrics=every("classification", "balanced_accuracy", "log_loss", "auc", "average_precision"),
    )  # fmt: skip
    found = values_of(
        task, torch.tensor(logits), torch.tensor(np.where(known, target, MISSING_CLASS)), batch
    )
    y, scores = target[known], torch.tensor(logits[known]).softmax(1).numpy()
    said = logits[known].argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, said), rel=1e-12)
    assert found["f1"] == pytest.approx(sk.f1_score(y, said, average="macro"), rel=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(y, said), rel=1e-12
    )
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, scores), rel=1e-12)
    if classes == 2:
        difference = logits[known, 1] - logits[known, 0]
        assert found["auc"] == pytest.approx(sk.roc_auc_score(y, difference), rel=1e-12)
        assert found["average_precision"] == pytest.approx(
            sk.average_precision_score(y, difference), rel=1e-12
        )
    else:
        assert found["auc"] == pytest.approx(
            sk.roc_auc_score(y, scores, multi_class="ovr"), rel=1e-12
        )
        precision = sk.average_precision_score(np.eye(classes)[y], scores)
        assert found["average_precision"] == pytest.approx(precision, rel=1e-12)


@QUICK
@given(
    seed=seeds,
    batch=sizes,
    size=st.integers(1, 3),
    gap=st.sampled_from([0.0, 0.3]),
    far=st.sampled_from([0.0, 1e6]),
)
def test_metrics_of_numbers_are_scikit_learns(
    seed: int, batch: int, size: int, gap: float, far: float
) -> None:
    """Breaks if sums of squares cancel for targets far from 0, or units are those of training."""
    random = np.random.default_rng(seed)
    y = random.normal(size=(ROWS, size)) * 3.0 + far
    offset, scale = float(y.mean()), float(y.std())
    target = (y - offset) / scale
    unknown = random.random((ROWS, size)) < gap
    unknown[:3] = False
    output = target + random.normal(size=target.shape)
    task = Task(
        "t", "regression", size=size, offset=offset, scale=scale, missing=gap > 0, trivial=tuple(target.mean(0)),
        metrics=every("regression", "median_absolute_error"),
    )  # fmt: skip
    found = values_of(
        task, torch.tensor(output), torch.tensor(np.where(unknown, np.nan, target)), batch
    )
    known, said = ~unknown, offset + scale * output
    near = pytest.approx
    tolerance = (
        1e-12 if not far else 1e-9
    )  # of a target of a million with a spread of 3, ten digits are left
    assert found["rmse"] == near(sk.root_mean_squared_error(y[known], said[known]), rel=tolerance)
    assert found["mae"] == near(sk.mean_absolute_error(y[known], said[known]), rel=tolerance)
    medians = [
        sk.median_absolute_error(y[k, j], said[k, j]) for j in range(size) for k in [known[:, j]]
    ]
    assert found["median_absolute_error"] == near(np.mean(medians), rel=tolerance)
    if not gap:
        assert found["r2"] == near(
            sk.r2_score(y, said, multioutput="variance_weighted"),
            rel=tolerance,
            abs=1e-9 if far else 1e-12,
        )


@QUICK
@given(seed=seeds, batch=sizes, gap=st.sampled_from([0.0, 0.3]))
def test_metrics_of_labels_are_scikit_learns(seed: int, batch: int, gap: float) -> None:
    """Breaks if labels are ranked together, or a missing one counts."""
    random = np.random.default_rng(seed)
    target, logits = (
        (random.random((ROWS, 3)) < 0.4).astype(float),
        random.normal(size=(ROWS, 3)).round(1),
    )
    target[0], target[1] = 0.0, 1.0  # both occur for every label
    unknown = random.random((ROWS, 3)) < gap
    unknown[:2] = False
    task = Task(
        "t",
        "multilabel",
        size=3,
        missing=gap > 0,
        metrics=every("multilabel", "auc", "average_precision", "log_loss"),
    )
    found = values_of(
        task, torch.tensor(logits), torch.tensor(np.where(unknown, np.nan, target)), batch
    )
    columns = [(target[~unknown[:, j], j], logits[~unknown[:, j], j]) for j in range(3)]
    assert found["auc"] == pytest.approx(
        np.mean([sk.roc_auc_score(*c) for c in columns]), rel=1e-12
    )
    assert found["average_precision"] == pytest.approx(
        np.mean([sk.average_precision_score(*c) for c in columns]), rel=1e-12
    )
    probabilities = 1 / (1 + np.exp(-logits[~unknown]))
    assert found["log_loss"] == pytest.approx(
        sk.log_loss(target[~unknown], probabilities), rel=1e-12
    )


def test_an_area_without_both_labels_is_undefined() -> None:
    """Breaks if a split with one class gets a score that looks real, or an error."""
    task = Task("t", "classification", size=2, metrics=("auc", "average_precision"))
    found = values_of(task, torch.randn(5, 2), torch.zeros(5, dtype=torch.long), 2)
    assert np.isnan([found["auc"], found["average_precision"]]).all()


def test_an_output_that_is_never_labelled_does_not_hide_the_others() -> None:
    """Breaks if one pixel at the border, which no image labels, leaves the whole metric undefined."""
    target = torch.arange(20.0).view(10, 2)
    target[:, 1] = torch.nan
    task = Task("t", "regression", size=2, missing=True, metrics=("median_absolute_error",))
    assert values_of(task, torch.zeros(10, 2), target, 3)["median_absolute_error"] == 9.0


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_a_batch_of_classes_that_weigh_nothing_counts_nothing(rows: int) -> None:
    """Breaks if the last batch of a split, with a class of weight 0 alone, makes the loss 0/0."""
    task = Task("t", "classification", size=3, class_weights=(1.0, 2.0, 0.0))
    target, output = torch.tensor([0, 1, 0, 1, 2]), torch.randn(5, 3)
    expected = nn.functional.cross_entropy(output, target, torch.tensor([1.0, 2.0, 0.0])).item()
    assert values_of(task, output, target, rows)["loss"] == pytest.approx(expected, rel=1e-12)


# Torchmetrics


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_torchmetric_of_ones_own_is_told_every_batch(batch: int) -> None:
    """Breaks if it sees logits for probabilities, training units, missing labels, or the rows of an earlier evaluation."""
    torchmetrics = pytest.importorskip("torchmetrics")
    random = torch.Generator().manual_seed(0)
    metrics = {
        "a": TorchMetric(torchmetrics.MeanSquaredError()),
        "b": TorchMetric(
            torchmetrics.classification.MulticlassMatthewsCorrCoef(num_classes=3), "mcc"
        ),
        "c": TorchMetric(torchmetrics.classification.MultilabelHammingDistance(num_labels=2)),
    }
    tasks = [
        Task(
            "a",
            "regression",
            size=1,
            offset=5.0,
            scale=2.0,
            missing=True,
            metrics=("rmse", metrics["a"]),
        ),
        Task("b", "classification", size=3, missing=True, metrics=(metrics["b"], "accuracy")),
        Task("c", "multilabel", size=2, metrics=(metrics["c"],)),
    ]
    outputs = {t.name: torch.randn(ROWS, t.size, generator=random) for t in tasks}
    targets = {
        "a": torch.randn(ROWS, 1, generator=random),
        "b": torch.randint(3, (ROWS,), generator=random),
        "c": torch.randint(2, (ROWS, 2), generator=random).double(),
    }
    targets["a"][:5], targets["b"][-5:] = torch.nan, MISSING_CLASS
    split = Split(torch.arange(ROWS).unsqueeze(1), targets)
    for _ in range(2):  # the second evaluation begins anew
        found = evaluated(Given(outputs), tasks, split, rows=batch).values
        error = 2.0 * (outputs["a"] - targets["a"])[5:]
        assert found["a"]["mean_squared_error"] == pytest.approx(
            error.square().mean().item(), rel=1e-6
        )
        assert list(found["a"])[1:] == ["rmse", "mean_squared_error"]
        mcc = sk.matthews_corrcoef(targets["b"][:-5], outputs["b"][:-5].argmax(1))
        assert found["b"]["mcc"] == pytest.approx(mcc, rel=1e-5)
        hamming = sk.hamming_loss(targets["c"], outputs["c"] > 0)
        assert found["c"]["multilabel_hamming_distance"] == pytest.approx(hamming, rel=1e-5)
    assert tasks[0].directions["mean_squared_error"] is False
    assert tasks[1].directions["mcc"] is True


# Directions


def term(higher: bool | None = None) -> Task:
    """A loss term that measures something."""

    def my_error(outputs: object, targets: object) -> Tensor:
        return torch.tensor(1.0)

    def agree(outputs: object, targets: object) -> Tensor:
        return torch.tensor(0.0)

    if higher is not None:
        my_error.higher_is_better = higher  # type: ignore[attr-defined]
    agree.metrics = {"my_error": my_error}  # type: ignore[attr-defined]
    return Task("agree", "term", loss_term=agree)


def test_a_metric_without_a_direction_is_no_monitor() -> None:
    """Breaks if an unknown number counts as better when it grows: then the worst epoch is kept, without a word."""
    with pytest.raises(ConfigError) as error:
        Monitor.parse("agree.my_error", [term()])
    assert str(error.value) == (
        "trainer.monitor='agree.my_error': nobody says whether a higher my_error is better; set the attribute `higher_is_better` "
        "of the callable that measures it to True or False."
    )


@pytest.mark.parametrize("higher", [True, False])
def test_a_term_can_give_its_metric_a_direction(higher: bool) -> None:
    """Breaks if what a user says of a metric is not what decides which epoch is best."""
    monitor = Monitor.parse("agree.my_error", [term(higher)])
    assert monitor.higher_is_better is higher


def test_a_metric_says_what_it_needs() -> None:
    """Breaks if a metric of both forms, or of none, fails deep in an evaluation."""
    with pytest.raises(ConfigError, match=r"^The metric 'm' needs `finish` and either `sums`"):
        Metric("m", True)
    with pytest.raises(ConfigError, match=r"^The metric 'm' needs `finish` and either `sums`"):
        Metric(
            "m",
            True,
            sums=lambda o, t, task: o,
            collects=lambda o, t, task: o,
            finish=lambda s, task: s,
        )


def test_the_main_metric_has_a_direction() -> None:
    """Breaks if models are ranked by a number of which nobody says which end is the good one."""
    bias = Metric("bias", None, sums=lambda o, t, task: (o - t).mean(), finish=lambda s, task: s)
    assert Task("t", metrics=("rmse", bias)).main_metric == "rmse"
    with pytest.raises(ConfigError) as error:
        Task("t", metrics=(bias, "rmse"))
    assert str(error.value) == (
        "Task 't': its first metric is the main one, by which models are ranked, but nobody says whether a higher bias is better; put it after another, or give it `higher_is_better`."
    )


def named(name: str) -> Metric:
    """A metric that a config can make."""
    return Metric(name, True, sums=lambda o, t, task: o.sum(), finish=lambda s, task: s)


def unnamed() -> Metric:
    """One that chooses its name itself."""
    return named("mine")


@pytest.mark.parametrize("target", ["named", "unnamed"])
def test_the_config_can_name_a_metric(target: str) -> None:
    """Breaks if `name` is lost, whether or not the function behind `_target_` takes it."""
    (made,) = make_metrics(
        [{"_target_": f"tests.unit.tasks.test_metric_forms.{target}", "name": "other"}],
        "data.metrics.t",
    )
    assert made.name == "other"


def test_every_metric_of_ours_knows_its_direction() -> None:
    """Breaks if an error counts as better when it grows, or a metric of a kind cannot be a monitor."""
    lower = {
        "rmse", "mae", "rrmse", "median_absolute_error", "abs_err", "rel_err", "instance_error", "ece", "log_loss", "one_error",
        "angle_mean", "angle_median",
    }  # fmt: skip
    for kind in KINDS.values():
        for metric in itertools.chain(kind.metrics, kind.more_metrics):
            assert metric.higher_is_better is (metric.name not in lower), metric.name


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.metrics={digit: accuracy}", "data.metrics.digit must be a list, e.g. [accuracy, {_target_: my_module.my_metric}]; found 'accuracy'."),
        ("data.metrics={digt: [accuracy]}", "data.metrics names the unknown task 'digt'; did you mean 'digit'? allowed: digit, image, ink, parity."),
        ("data.metrics={digit: [{_target_: torch.nn.ReLU}]}", "data.metrics.digit: torch.nn.ReLU made a ReLU; it must make a Metric or a torchmetrics.Metric."),
        ("data.metrics={digit: [accuracy, accuracy]}", "Task 'digit' has two metrics called 'accuracy'; give one of them another name."),
    ],
)  # fmt: skip
def test_wrong_metrics_are_one_sentence(override: str, sentence: str) -> None:
    """Breaks if a typing mistake in data.metrics is a traceback."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", ["data=digits", "name=x", f"++{override}"])
    with pytest.raises(ConfigError) as error:
        build(config)
    assert str(error.value) == sentence
