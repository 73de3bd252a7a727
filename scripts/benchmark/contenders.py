"""The loops that are compared on the published toy: a tutorial's, plain PyTorch and mtl-runner."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

BATCH = 20
Contender = Callable[[int], None]  # trains for so many epochs

TUTORIAL = '''
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

np.random.seed(0)
X = np.random.randn(100, 1)
Y1 = 2 * X + 8 + 10 * np.random.randn(100, 1)
Y2 = 3 * X + 3 + np.random.randn(100, 1)

class Points(Dataset):
    def __init__(self):
        self.x, self.y1, self.y2 = (torch.tensor(a, dtype=torch.float32) for a in (X, Y1, Y2))
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i], self.y1[i], self.y2[i]

class TwoNets(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.net1, self.net2 = (
            nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1)) for _ in range(2)
        )
    def forward(self, x):
        return self.net1(x), self.net2(x)

class MultiTaskLoss(nn.Module):
    """The widely copied wrapper: model and log variances in one module."""
    def __init__(self, hidden, learned):
        super().__init__()
        self.model, self.learned = TwoNets(hidden), learned
        self.log_vars = nn.Parameter(torch.zeros(2))
    def forward(self, x, y1, y2):
        o1, o2 = self.model(x)
        losses = torch.mean((o1 - y1) ** 2), torch.mean((o2 - y2) ** 2)
        if not self.learned:
            return losses[0] + losses[1], losses
        total = sum(torch.exp(-s) * loss + s for s, loss in zip(self.log_vars, losses))
        return total, losses

def make(hidden, learned):
    mtl = MultiTaskLoss(hidden, learned)
    optimizer = torch.optim.Adam(mtl.parameters(), lr=1e-3, eps=1e-7)
    loader = DataLoader(Points(), batch_size=20, shuffle=True)
    history = []
    def train(epochs):
        for _ in range(epochs):
            for x, y1, y2 in loader:
                loss, losses = mtl(x, y1, y2)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                history.append((loss.item(), mtl.log_vars.tolist()))
    return train
'''


def tutorial(hidden: int, method: str) -> Contender:
    """Return the tutorial loop: a DataLoader, `.item()` at every step, the default Adam."""
    scope: dict[str, object] = {}
    exec(TUTORIAL, scope)  # the same text runs as a script of its own in --whole
    return scope["make"](hidden, method == "uncertainty")  # type: ignore[operator, no-any-return]


def plain(hidden: int, method: str) -> Contender:
    """Return an expert's loop: tensors, index batches, fused Adam, nothing recorded."""
    import torch

    scope: dict = {}
    exec(TUTORIAL, scope)
    points, model = scope["Points"](), scope["TwoNets"](hidden)
    x, y1, y2 = points.x, points.y1, points.y2
    log_vars = (
        [torch.nn.Parameter(torch.zeros(())) for _ in range(2)] if method == "uncertainty" else []
    )
    optimizer = torch.optim.Adam([*model.parameters(), *log_vars], lr=1e-3, eps=1e-7, fused=True)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            order = torch.randperm(len(x))
            for at in range(0, len(x), BATCH):
                rows = order[at : at + BATCH]
                o1, o2 = model(x[rows])
                l1, l2 = ((o1 - y1[rows]) ** 2).mean(), ((o2 - y2[rows]) ** 2).mean()
                if log_vars:
                    s1, s2 = log_vars
                    loss = torch.exp(-s1) * l1 + s1 + torch.exp(-s2) * l2 + s2
                else:
                    loss = l1 + l2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return train


def ours(hidden: int, method: str) -> Contender:
    """Return mtl-runner's loop, with losses, weights and objective of every step recorded."""
    from hydra import compose, initialize_config_dir

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build
    from mtl_runner.train.epoch_record import EpochBuffer
    from mtl_runner.train.trainer import Trainer

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        overrides = [
            f"weighting={method}",
            f"model.hidden=[{hidden}]",
            "++optimizer.eps=1e-7",
            "name=benchmark",
        ]
        experiment = build(compose("config", overrides))
    trainer = Trainer(experiment, Path(tempfile.mkdtemp()))
    buffer = EpochBuffer(trainer.tasks, trainer.batches.count, experiment.device)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            trainer.train_epoch(buffer)

    return train
