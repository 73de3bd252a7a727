"""GradDrop at the representation, as it was published: signs are drawn for activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def sign_dropout(
    rows: Sequence[Tensor],
    value: Tensor,
    leak: Tensor | None = None,
    whole_sums: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> Tensor:
    r"""Return the gradient of activations in which the gradients of one sign are kept.

    **Source:** Chen et al., *Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign
    Dropout*, NeurIPS 2020, algorithm 1, `arXiv:2010.06808 <https://arxiv.org/abs/2010.06808>`__.

    .. math::

        G_t = \sum_n \mathrm{sgn}(A_n) \nabla_{A_n} L_t, \qquad
        P = \frac{1}{2}\Bigl(1 + \frac{\sum_t G_t}{\sum_t |G_t|}\Bigr), \qquad
        \nabla_{A_n} = \sum_t \bigl(l_t + (1 - l_t) M_t\bigr) \nabla_{A_n} L_t

    where

    - :math:`A_n` are the activations of row n of the batch,
    - :math:`M_t` is 1 in the activations in which :math:`G_t` has the sign that was drawn: positive
      with probability P,
    - :math:`l_t` is the leak of task t.

    Args:
        rows: The gradient of each task over the activations, ``[N, ...]``.
        value: The activations, ``[N, ...]``.
        leak: The leak of each task, shape ``[k]``; None: 0 each.
        whole_sums: Makes sums over the rows of all processes from those over the rows of this one.

    Example:
        >>> value = torch.tensor([[1.0, -1.0], [2.0, 1.0]])
        >>> agree = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
        >>> sign_dropout([agree, 2 * agree], value)[:, 0]  # no conflict: the sum
        tensor([3., 3.])
    """
    signs = value.sign()
    sums = whole_sums(torch.stack([(signs * row).sum(0) for row in rows]))
    purity = 0.5 * (1 + sums.sum(0) / sums.abs().sum(0))
    drawn = torch.rand_like(purity)
    kept = ((purity > drawn) & (sums > 0)) | ((purity < drawn) & (sums < 0))
    shares = kept.to(sums.dtype)
    if leak is not None:
        leaks = leak.to(sums).view(-1, *[1] * (sums.dim() - 1))
        shares = leaks + (1 - leaks) * shares
    total = torch.zeros_like(rows[0])
    for share, row in zip(shares, rows, strict=True):
        total = total + share * row
    return total
