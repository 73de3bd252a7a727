"""A message-passing network for molecules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_runner.errors import ConfigError
from mtl_runner.errors.checks import positive, whole_number
from mtl_runner.models.heads import Towers
from mtl_runner.tasks.task import Task

ELEMENTS = 10  # atomic numbers up to fluorine; 0 is no atom


class MPNN(nn.Module):
    r"""Pass messages between all pairs of atoms, filtered by their distance.

    .. math:: h_i \leftarrow h_i + \mathrm{MLP}\Big(h_i, \sum_{j \ne i} W e(d_{ij}) \odot V h_j\Big)

    where

    - :math:`h_i` are the features of atom i, at first an embedding of its element,
    - :math:`d_{ij}` is the distance of two atoms, :math:`e` an expansion in Gaussians of it,
    - :math:`W` and :math:`V` are matrices of the layer, shared by all pairs.

    It is the framework of Gilmer et al. (ICML 2017) with the filters of SchNet (Schuett et al.,
    NeurIPS 2017). Sum and mean of a last layer over the atoms are the features of the molecule, on
    which every task has a head. Distances are all that it sees of the positions, so that its
    outputs do not change if a molecule is moved, turned, mirrored or renumbered.

    Args:
        tasks: The tasks.
        input_shape: ``{"numbers": (A,), "positions": (A, 3)}`` for A atoms at most.
        width: Features per atom.
        layers: Rounds of messages.
        gaussians: Gaussians that a distance is expanded in.
        cutoff: Distance in Angstrom of the last of them.
        tower: Widths of the layers in each task's head before its output.

    Shape:
        Inputs ``{"numbers": [N, A], "positions": [N, A, 3]}``, outputs ``{task: [N, size]}``.

    Raises:
        ConfigError: If the inputs are no molecules, or an option is impossible.

    Example:
        >>> water = {
        ...     "numbers": torch.tensor([[8, 1, 1, 0]]),
        ...     "positions": torch.tensor([[[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]]),
        ... }
        >>> model = MPNN([Task("mu", size=1)], {"numbers": (4,), "positions": (4, 3)})
        >>> tuple(model(water)["mu"].shape)
        (1, 1)
    """

    centres: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        input_shape: Mapping[str, Sequence[int]],
        width: int = 64,
        layers: int = 3,
        gaussians: int = 16,
        cutoff: float = 6.0,
        tower: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if not isinstance(input_shape, Mapping) or set(input_shape) != {"numbers", "positions"}:
            given = ", ".join(input_shape) if isinstance(input_shape, Mapping) else "one tensor"
            raise ConfigError(
                f"model=mpnn takes molecules, inputs `numbers` and `positions`, but the data give {given}; use data=qm9 data.features=graph."
            )
        whole_number(width, "model.width", 1)
        whole_number(layers, "model.layers", 1)
        whole_number(gaussians, "model.gaussians", 2)
        positive(cutoff, "model.cutoff")
        self.register_buffer("centres", torch.linspace(0.0, cutoff, gaussians), persistent=False)
        self.spacing = cutoff / (gaussians - 1)
        self.embedding = nn.Parameter(torch.randn(ELEMENTS, width))
        self.filters = nn.ParameterList(
            torch.randn(gaussians, width) / gaussians**0.5 for _ in range(layers)
        )
        self.messages = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.updates = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(layers)
        )
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.heads = Towers(tasks, (2 * width,), tower)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the output of each task, ``[N, size]``."""
        numbers, positions = inputs["numbers"], inputs["positions"]
        is_atom = (numbers > 0).to(positions.dtype)
        atoms = self.embedding[numbers]
        gaussians = self.expanded_distances(positions, is_atom)
        for pair_filter, message, update in zip(
            self.filters, self.messages, self.updates, strict=True
        ):
            # The sum over atoms before the filter: one product of matrices, and no number per pair
            # and feature; a quarter of the time.
            sums = (gaussians.flatten(1, 2) @ message(atoms)).unflatten(1, gaussians.shape[1:3])
            received = (sums * pair_filter).sum(2)
            atoms = atoms + update(torch.cat([atoms, received], 2))
        answers = self.readout(atoms) * is_atom.unsqueeze(2)
        total = answers.sum(1)
        count = is_atom.sum(1, keepdim=True).clamp(min=1)
        # The sum grows with the molecule as an energy does; a tenth of it is of the mean's size.
        features = torch.cat([total / 10, total / count], 1)
        outputs: dict[str, Tensor] = self.heads([features] * len(self.heads))
        return outputs

    def expanded_distances(self, positions: Tensor, is_atom: Tensor) -> Tensor:
        """Return the Gaussians of every two atoms' distance, ``[N, A, gaussians, A]``.

        They are 0 for an atom and itself, and where there is no atom.
        """
        steps = positions.unsqueeze(2) - positions.unsqueeze(1)
        pairs = is_atom.unsqueeze(2) * is_atom.unsqueeze(1)
        pairs = pairs * (1 - torch.eye(pairs.shape[1], dtype=pairs.dtype, device=pairs.device))
        # The root has no slope at 0, where no pair is.
        distances = torch.where(pairs > 0, steps.square().sum(3), 1.0).sqrt()
        offsets = (distances.unsqueeze(2) - self.centres.unsqueeze(1)) / self.spacing
        return (-0.5 * offsets.square()).exp() * pairs.unsqueeze(2)
