r"""The aggregators that ``update.aggregator`` takes by name: what each computes and needs.

Those with a ``torchjd_class`` are computed by TorchJD, the others here. Each class is the card of
one method and holds its settings; :class:`~mtl_runner.update.aggregators.Aggregation` makes the
aggregator from them.

Notation: T active tasks; :math:`g_t` is the gradient of task t's weighted loss over the shared
parameters, a row of the Jacobian J; :math:`G = J J^\top` is its Gramian; :math:`g_0` is the mean of
the rows; d is the direction that takes the place of the gradient of the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mtl_runner.errors.checks import whole_number

# Squared norm of a Jacobian below which a solver gives up. TorchJD's default turns a method into
# another one once the norm of the gradients is below 0.01.
SMALLEST_SQUARED_NORM = 1e-12


class AggregatorMethod:
    """Base of the aggregators by name: class in TorchJD, our defaults, and what the method needs.

    Attributes:
        torchjd_class: Name of the class in ``torchjd.aggregation``; empty for a method that is
            solved here.
        options: Our defaults of its options; ``update.options`` overrides them.
        per_task_options: The options that are one number per task, given as ``{task: number}`` or
            one number for all.
        unnamed_task: The number of a task that such an option does not name.
        divides_by_tasks: Whether its numbers per task are divided by the number of active tasks, so
            that 1 for every task is the method's own default.
        is_random: Whether it draws random numbers.
        has_weights: Whether its direction is a weighted sum of the rows, with weights to log.
        reads_entries: Whether it looks at single entries of the rows, and not only at their
            products: it cannot be had with ``trainer.parallel=fsdp``.
        takes_projector: Whether it takes a projector onto the dual cone, which holds the thresholds
            of the quadratic program.
        keeps_entries: Whether its state has a number for every entry of the rows, of which there
            must always be as many.

    Example:
        >>> CAGrad.options["c"], CAGrad.fewest_rows({})
        (0.5, 1)
    """

    torchjd_class: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    per_task_options: ClassVar[tuple[str, ...]] = ()
    unnamed_task: ClassVar[float] = 1.0
    divides_by_tasks: ClassVar[bool] = False
    is_random: ClassVar[bool] = False
    has_weights: ClassVar[bool] = True
    reads_entries: ClassVar[bool] = False
    takes_projector: ClassVar[bool] = False
    keeps_entries: ClassVar[bool] = False

    @staticmethod
    def fewest_rows(options: Mapping[str, Any]) -> int:
        """Return the smallest number of active tasks that the method takes with these options."""
        del options
        return 1

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` for an option that TorchJD takes and the method does not have."""


class AlignedMTL(AggregatorMethod):
    r"""Make the gradients orthogonal and equally long.

    **Source:** Senushkin, Patakin, Kuznetsov & Konushin, *Independent Component Alignment for
    Multi-Task Learning*, CVPR 2023, algorithm 1, `arXiv:2305.19000
    <https://arxiv.org/abs/2305.19000>`__.

    .. math::

        d = J^\top B w, \qquad
        B = \sqrt{\lambda_{\min}} \, V \Lambda^{-1/2} V^\top, \qquad
        G = V \Lambda V^\top

    where

    - :math:`V, \Lambda` are the eigenvectors and the eigenvalues above rounding of the Gramian G,
    - :math:`\lambda_{\min}` is the smallest of these eigenvalues,
    - :math:`w_t` are preferences, 1/T for every task by default.

    This removes the conflicts and the differences in size of the gradients' principal components.

    **Cost per step:** T backward passes.

    **When it helps:** gradients that conflict or differ much in size; the direction is stable under
    both.

    **When not:** nearly parallel gradients, since the steps are as short as the smallest singular
    value.

    **Departs from the published code,** which sums the aligned gradients: its direction is T times
    as long.

    **Options:** ``pref_vector`` (``{task: number}``; 1 each is the default), ``scale_mode``
    (``min``, ``median`` or ``rmse``).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("aligned_mtl", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([0.3300, 0.7800])
    """

    torchjd_class = "AlignedMTL"
    per_task_options = ("pref_vector",)
    divides_by_tasks = True


class AuxiNash(AggregatorMethod):
    r"""Take the Nash bargaining solution in which tasks have unequal bargaining powers.

    **Source:** Shamsian, Navon, Glazer, Kawaguchi, Chechik & Fetaya, *Auxiliary Learning as an
    Asymmetric Bargaining Game*, ICML 2023, `arXiv:2301.13501 <https://arxiv.org/abs/2301.13501>`__.

    .. math:: d = \sum_t \alpha_t g_t, \qquad G \alpha = p / \alpha

    where

    - G is the Gramian of the gradients, :math:`\alpha` the positive weights that solve the
      equation,
    - :math:`p_t` is the bargaining power of task t, its preference, scaled so that the powers of
      the active tasks sum to T (only their ratios count): :math:`\alpha_t \langle g_t, d \rangle
      = p_t`,
    - :math:`\|d\| = \sqrt T`, then scaled to at most ``max_norm``.

    With equal preferences it is :class:`NashMTL`.

    **Cost per step:** T backward passes and a few systems ``[T, T]``.

    **When it helps:** a main task with auxiliary ones, on any scales: a loss times a constant
    changes nothing, a preference does.

    **When not:** preferences that nobody knows, and gradients that cancel each other: where two are
    opposite it stands still.

    **Departs from the paper,** which learns p by implicit differentiation of the main task's loss
    on held-out data; here p is fixed. The equation is solved exactly
    (:class:`~mtl_runner.update.nash.Nash`), not by a sequence of convex programs; so it needs no
    package.

    **Options:** ``preferences`` (``{task: number}``; 1 each is the default), ``max_norm`` (1.0; 0:
    not limited).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 10.0]])
        >>> aggregate("auxinash", rows, preferences={"task_0": 3.0}).round(decimals=2)
        tensor([0.8700, 0.5000])
    """

    options: ClassVar[Mapping[str, Any]] = {"preferences": 1.0}
    per_task_options = ("preferences",)


class CAGrad(AggregatorMethod):
    r"""Help the task that is worst off, near the mean gradient.

    **Source:** Liu, Liu, Jin, Stone & Liu, *Conflict-Averse Gradient Descent for Multi-task
    Learning*, NeurIPS 2021, algorithm 1, `arXiv:2110.14048 <https://arxiv.org/abs/2110.14048>`__.

    .. math::

        \max_d \min_t \langle g_t, d \rangle
        \quad \text{subject to} \quad \|d - g_0\| \le c \, \|g_0\|

    where

    - :math:`g_0` is the mean of the gradients,
    - c is the radius of the ball, relative to :math:`\|g_0\|`: 0 is the mean gradient; from 1 on no
      task gets worse, to first order.

    **Cost per step:** T backward passes and a convex program.

    **When it helps:** it keeps the convergence of the mean gradient and helps the task that gains
    least.

    **When not:** small models, since the solver costs more than their backward passes.

    **Departs from the published code,** which divides the direction by 1 + c² (``rescale=1``) and
    multiplies it by T. **Departs from TorchJD's defaults:** ``norm_eps`` is 1e-12. With 1e-4 the
    direction is 0 once the Jacobian's norm is under 0.01.

    **Options:** ``c`` (0.5), ``norm_eps``. Needs ``pip install 'mtl-runner[solvers]'``.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("cagrad", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([0.8600, 1.6400])
    """

    torchjd_class = "CAGrad"
    options: ClassVar[Mapping[str, Any]] = {"c": 0.5, "norm_eps": SMALLEST_SQUARED_NORM}


class ConFIG(AggregatorMethod):
    r"""Take the direction with equal cosines to all gradients.

    **Source:** Liu, Chu & Thuerey, *ConFIG: Towards Conflict-free Training of Physics Informed
    Neural Networks*, ICLR 2025, eq. 2, `arXiv:2408.11104 <https://arxiv.org/abs/2408.11104>`__.

    .. math::

        d = \Bigl(\sum_t g_t^\top u\Bigr) u, \qquad
        u = \mathcal{U}\bigl[[\mathcal{U}(g_1), \dots, \mathcal{U}(g_T)]^{-\top} w\bigr]

    where

    - :math:`\mathcal{U}(x) = x / \|x\|`, and :math:`^{-\top}` is the pseudo-inverse of the matrix
      with these rows,
    - :math:`w_t` are preferences, 1 for every task by default.

    **Cost per step:** T backward passes and the pseudo-inverse of a matrix ``[T, P]``.

    **When it helps:** made for the losses of physics-informed networks, whose gradients differ much
    in size.

    **When not:** large models, since it inverts a matrix ``[T, P]``.

    Its direction is no weighted sum of the rows that it would name, so ``aggregator_weight`` is
    empty.

    **Options:** ``pref_vector`` (``{task: number}``).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("config", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([0.7300, 2.6300])
    """

    torchjd_class = "ConFIG"
    reads_entries = True
    per_task_options = ("pref_vector",)
    has_weights = False


class Constant(AggregatorMethod):
    r"""Sum the gradients with constant weights; for comparison with other aggregators.

    .. math:: d = \sum_t w_t g_t

    where :math:`w_t` are the weights, 1 for every task by default. Unlike ``weighting.weights``
    they leave the private parameters alone.

    **Options:** ``weights`` (``{task: number}``).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("constant", torch.tensor([[4.0, 1.0], [-1.0, 1.0]]), weights={"task_1": 2.0})
        tensor([2., 3.])
    """

    torchjd_class = "Constant"
    options: ClassVar[Mapping[str, Any]] = {"weights": 1.0}
    per_task_options = ("weights",)


class DBMTL(AggregatorMethod):
    r"""Average the gradients of the logarithms of the losses, and make them equally long.

    **Source:** Lin et al., *Dual-Balancing for Multi-Task Learning*, 2023, `arXiv:2308.12029
    <https://arxiv.org/abs/2308.12029>`__, algorithm 1.

    .. math::

        \hat g_t \leftarrow \beta_k \hat g_t + (1 - \beta_k) \nabla \log L_t, \qquad
        d = \max_s \|\hat g_s\| \sum_t \frac{\hat g_t}{\|\hat g_t\|}, \qquad
        \beta_k = \beta / \sqrt k

    where k counts the steps, and the averages :math:`\hat g_t` begin at 0.

    The logarithms are those of ``weighting=log_sum``, which ``weighting=db_mtl`` sets beside this
    aggregator: its weights are :math:`1 / L_t`, so that the heads learn from logarithms, too. With
    another weighting the rows are the gradients of the losses as that one weighs them.

    **Cost per step:** T backward passes; it keeps a state ``[T, P]``.

    **When it helps:** losses on any scales, and gradients of different length: every task's
    averaged gradient has the same length in the sum.

    **When not:** a task that has converged: its gradient, mostly noise, is made as long as
    the longest. The direction is up to T times as long as the longest average.

    **Departs from the published code:** k counts the steps in which a task is active beside others
    (one active task alone needs no aggregator, and its average stands still), and no 1e-8 is added
    to a loss or a norm; a gradient of 0 has no part in the sum.

    **Options:** ``beta`` (0.9), ``decay`` (0.5, the exponent of k).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("db_mtl", torch.tensor([[1.0, 0.0], [0.0, 10.0]]), beta=0.0)
        tensor([10., 10.])
    """

    reads_entries = True
    keeps_entries = True


class DualProj(AggregatorMethod):
    r"""Project the mean gradient so that it conflicts with no task.

    **Source:** Lopez-Paz & Ranzato, *Gradient Episodic Memory for Continual Learning*, NeurIPS
    2017, eq. 11, `arXiv:1706.08840 <https://arxiv.org/abs/1706.08840>`__.

    .. math::

        d = \pi_J(g_0), \qquad
        \pi_J(x) = \arg\min_y \|y - x\|^2 \ \text{ subject to } \ J y \ge 0

    where

    - :math:`\pi_J` projects onto the dual cone of the gradients, the directions that make no task
      worse,
    - :math:`g_0` is the mean of the gradients, or their sum weighted by the preferences.

    **Cost per step:** T backward passes and a small quadratic program.

    **When it helps:** as :class:`UPGrad`, never uphill on a task to first order, with one
    projection instead of T.

    **When not:** tasks whose gradients differ much in size, since the largest still leads.

    **Departs from TorchJD's defaults:** the thresholds ``norm_eps`` and ``reg_eps`` are 1e-12 and
    1e-7; with 1e-4 it becomes the mean once the Jacobian's norm is under 0.01, and gives up a
    gradient a hundred times smaller than the largest. The Gramian is projected onto the
    semidefinite matrices in float64, since a quadratic program refuses what rounding leaves.

    **Options:** ``pref_vector`` (``{task: number}``; 1 each is the default), ``norm_eps``,
    ``reg_eps``. Needs ``pip install 'mtl-runner[solvers]'``.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("dualproj", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([1.2500, 1.2500])
    """

    torchjd_class = "DualProj"
    per_task_options = ("pref_vector",)
    divides_by_tasks = True
    takes_projector = True


class ExcessMTL(AggregatorMethod):
    r"""Give more weight to tasks that are far from their optimum.

    **Source:** He et al., *Robust Multi-Task Learning with Excess Risks*, ICML 2024, eq. 6, 7 and
    9, `arXiv:2402.02009 <https://arxiv.org/abs/2402.02009>`__.

    .. math::

        w_t \propto w_t \exp(\eta \, E_t / E_t^{(0)}), \qquad
        E_t = \sum_p g_{t,p}^2 \Big/ \sqrt{\textstyle\sum_{\text{steps}} g_{t,p}^2}

    where

    - :math:`E_t` estimates the excess risk of task t,
    - :math:`E_t^{(0)}` is its mean over the first ``n_warmup_steps`` steps, during which the
      weights stay 1/T. By default that is the first step alone, as in the published code; the
      paper takes three epochs,
    - :math:`\eta` is ``robust_step_size``; the weights sum to 1.

    **Cost per step:** T backward passes; it keeps a state ``[T, P]``.

    **When it helps:** tasks with different label noise, since what cannot be learned does not
    count.

    **When not:** long runs with a large step size: the weights can saturate on one task.

    **Departs from the published code,** whose weights sum to T and weigh the heads, too. **Departs
    from TorchJD's defaults:** ``n_warmup_steps`` is at least 1. With 0 TorchJD's first step uses
    the raw risk, not the relative one, so that the weights depend on the scale of the losses.

    **Options:** ``robust_step_size`` (1.0), ``n_warmup_steps`` (1).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> rows = torch.tensor([[4.0, 1.0], [-1.0, 1.0]])
        >>> aggregate("excess_mtl", rows)  # the mean, since the first step sets the baseline
        tensor([1.5000, 1.0000])
    """

    torchjd_class = "ExcessMTL"
    reads_entries = True
    keeps_entries = True
    options: ClassVar[Mapping[str, Any]] = {"n_warmup_steps": 1}

    @staticmethod
    def check(options: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` unless at least one step sets the baseline."""
        whole_number(options["n_warmup_steps"], "update.options.n_warmup_steps", 1)


class FairGrad(AggregatorMethod):
    r"""Share the progress among the tasks by alpha-fairness.

    **Source:** Ban & Ji, *Fair Resource Allocation in Multi-Task Learning*, ICML 2024, eq. 4 and
    algorithm 1, `arXiv:2402.15638 <https://arxiv.org/abs/2402.15638>`__.

    .. math:: d = J^\top w, \qquad G w = w^{-1/\alpha}

    where

    - G is the Gramian of the gradients, w the positive weights that solve the equation,
    - :math:`\alpha` chooses the kind of fairness: towards 0 the sum, 1 Nash bargaining, towards
      infinity :class:`MGDA`.

    **Cost per step:** T backward passes and a solver.

    **When it helps:** a choice between efficiency and fairness by one number.

    **When not:** a fixed learning rate for several alphas: the length of a step scales as the
    gradients' to the power :math:`1 - 2\alpha/(1+\alpha)`.

    **Departs from TorchJD:** the Gramian is scaled to trace 1 and the weights back, since SciPy's
    solver stops at its start for small gradients.

    **Options:** ``alpha`` (2.0), ``max_iters``. Needs ``pip install 'mtl-runner[solvers]'``.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("fairgrad", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([0.1700, 1.2100])
    """

    torchjd_class = "FairGrad"
    options: ClassVar[Mapping[str, Any]] = {"alpha": 2.0}


class GradDrop(AggregatorMethod):
    r"""Keep in each coordinate only the gradients of one sign, drawn at random.

    **Source:** Chen et al., *Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign
    Dropout*, NeurIPS 2020, algorithm 1, `arXiv:2010.06808 <https://arxiv.org/abs/2010.06808>`__.

    .. math::

        P = \frac{1}{2}\Bigl(1 + \frac{\sum_t g_t}{\sum_t |g_t|}\Bigr), \qquad
        d = \sum_t \bigl(l_t + (1 - l_t) M_t\bigr) g_t

    where

    - P is the probability, per coordinate, that the positive gradients stay,
    - :math:`M_t` is 1 in the coordinates in which :math:`g_t` has the sign that was drawn, else 0,
    - :math:`l_t` is the leak of task t: the share of its gradient that always passes, 0 by default.

    **Cost per step:** T backward passes.

    **When it helps:** as a regularizer, like dropout.

    **When not:** small batches, on which it is noisy.

    **Departs from the paper,** which drops signs in the gradients of activations, times the sign of
    the activation and summed over the batch; here it is the gradients of the shared parameters.
    With ``update.at=representation`` it is the paper's algorithm, on the last shared activations
    (:func:`~mtl_runner.update.sign_dropout.sign_dropout`).

    Its direction is no weighted sum of the rows, so ``aggregator_weight`` is empty. It draws from a
    random stream of its own.

    **Options:** ``leak`` (``{task: number}``; 0 for a task that is not named).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("graddrop", torch.tensor([[4.0, 1.0], [1.0, 1.0]]))  # no conflict: the sum
        tensor([5., 2.])
    """

    torchjd_class = "GradDrop"
    reads_entries = True
    per_task_options = ("leak",)
    unnamed_task = 0.0
    is_random = True
    has_weights = False


class GradVac(AggregatorMethod):
    r"""Turn each gradient towards the others, to a running mean of their cosines.

    **Source:** Wang, Tsvetkov, Firat & Cao, *Gradient Vaccine: Investigating and Improving
    Multi-task Optimization in Massively Multilingual Models*, ICLR 2021, algorithm 1,
    `arXiv:2010.05874 <https://arxiv.org/abs/2010.05874>`__.

    .. math::

        g_i \leftarrow g_i + \frac{\|g_i\|
        \bigl(\hat\phi \sqrt{1 - \phi^2} - \phi \sqrt{1 - \hat\phi^2}\bigr)}
        {\|g_j\| \sqrt{1 - \hat\phi^2}} \, g_j \quad \text{if } \phi < \hat\phi

    where

    - :math:`\phi` is the cosine of the gradients of tasks i and j, visited in random order,
    - :math:`\hat\phi` is its running mean with rate ``beta``; at the start 0, which is
      :class:`PCGrad`.

    The direction is the sum of the turned gradients.

    **Cost per step:** T backward passes.

    **When it helps:** as :class:`PCGrad`, also where gradients merely agree less than usual.

    **When not:** changing sets of tasks, since each set has a running mean of its own.

    **Departs from TorchJD's defaults:** ``eps`` is 1e-30, since 1e-8 changes the method once
    gradients are small.

    **Options:** ``beta`` (0.5), ``eps``.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("gradvac", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([2.2100, 3.6800])
    """

    torchjd_class = "GradVac"
    options: ClassVar[Mapping[str, Any]] = {"eps": 1e-30}
    is_random = True


class IMTLG(AggregatorMethod):
    r"""Take the direction with equal projections on all gradients.

    **Source:** Liu et al., *Towards Impartial Multi-task Learning*, ICLR 2021, the gradient balance
    IMTL-G, `OpenReview <https://openreview.net/forum?id=IMPnRXEWpvr>`__.

    .. math:: d = \sum_t w_t g_t, \qquad u_1^\top d = \dots = u_T^\top d, \qquad \sum_t w_t = 1

    where :math:`u_t = g_t / \|g_t\|` are the directions of the gradients.

    **Cost per step:** T backward passes.

    **When it helps:** no task dominates by the size of its gradient.

    **When not:** gradients that conflict much: weights may be negative, and then a task is
    unlearned.

    **Departs from the paper, as TorchJD does:** the pseudo-inverse of the Gramian also takes rows
    that depend on each other.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("imtl_g", torch.tensor([[1.0, 0.0], [0.0, 10.0]])).round(decimals=2)
        tensor([0.9100, 0.9100])
    """

    torchjd_class = "IMTLG"


class Krum(AggregatorMethod):
    r"""Take the gradient that is closest to its neighbours.

    **Source:** Blanchard, El Mhamdi, Guerraoui & Stainer, *Machine Learning with Adversaries:
    Byzantine Tolerant Gradient Descent*, NeurIPS 2017, `arXiv:1703.02757
    <https://arxiv.org/abs/1703.02757>`__.

    .. math:: d = g_{t^*}, \qquad t^* = \arg\min_t \sum_{s \in N_t} \|g_t - g_s\|^2

    where :math:`N_t` are the :math:`T - f - 2` gradients closest to :math:`g_t`, and f is
    ``n_byzantine``, the number of faulty rows that it withstands. With ``n_selected`` above 1 it is
    the mean of so many rows.

    **Cost per step:** T backward passes.

    **When it helps:** made for faulty workers of distributed training.

    **When not:** tasks that all have to be learned: it drops all gradients but one. It needs f + 3
    tasks; while fewer are active the mean is taken, and a warning says so.

    **Options:** ``n_byzantine`` (0), ``n_selected`` (1).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("krum", torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]]))
        tensor([1., 0.])
    """

    torchjd_class = "Krum"
    options: ClassVar[Mapping[str, Any]] = {"n_byzantine": 0, "n_selected": 1}

    @staticmethod
    def fewest_rows(options: Mapping[str, Any]) -> int:
        """Return three more than the number of faulty rows."""
        fewest: int = options["n_byzantine"] + 3
        return fewest


class Mean(AggregatorMethod):
    r"""Take the mean of the gradients; for comparison with other aggregators.

    .. math:: d = \frac{1}{T} \sum_t g_t

    With SGD the shared parameters move 1/T as far as under the sum, the private ones as far as
    ever.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("mean", torch.tensor([[4.0, 1.0], [-1.0, 1.0]]))
        tensor([1.5000, 1.0000])
    """

    torchjd_class = "Mean"


class MGDA(AggregatorMethod):
    r"""Take the shortest vector in the convex hull of the gradients.

    **Source:** Désidéri, *Multiple-gradient descent algorithm (MGDA) for multiobjective
    optimization*, Comptes Rendus 2012; Sener & Koltun, *Multi-Task Learning as Multi-Objective
    Optimization*, NeurIPS 2018, eq. 3 and algorithm 2, `arXiv:1810.04650
    <https://arxiv.org/abs/1810.04650>`__.

    .. math::

        d = \sum_t w_t g_t, \qquad
        w = \arg\min_{w \ge 0, \, \sum_t w_t = 1} \Bigl\|\sum_t w_t g_t\Bigr\|^2

    where w are the weights of the gradients.

    **Cost per step:** T backward passes and a few systems ``[T, T]``.

    **When it helps:** never uphill on a task, to first order; it stops only where no direction
    serves all tasks.

    **When not:** gradients of different size: the task with the smallest sets the pace, so all slow
    down.

    **Departs from the paper:** the weights are found exactly
    (:class:`~mtl_runner.update.shortest_vector.ShortestVector`), not by the Frank-Wolfe steps of
    the paper's algorithm 2, which TorchJD follows: from three tasks on they stop at a vector that
    is too long and may go uphill on a task. So it needs no package. Where no direction serves all
    tasks the weights are 0. **Departs from the published code,** which weighs the heads, too, and
    may divide the gradients by losses and norms first (``loss+``). With
    ``update.at=representation`` it is the paper's MGDA-UB, which bounds the norm from above.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("mgda", torch.tensor([[1.0, 0.0], [0.0, 10.0]])).round(decimals=2)
        tensor([0.9900, 0.1000])
    """


class MoCo(AggregatorMethod):
    r"""Follow the shortest combination of averaged gradients, with weights that move slowly.

    **Source:** Fernando et al., *Mitigating Gradient Bias in Multi-objective Learning: A Provably
    Convergent Approach*, ICLR 2023, algorithm 1, `OpenReview
    <https://openreview.net/forum?id=dLAYGdKTi2>`__.

    .. math::

        y_t \leftarrow y_t + \beta (g_t - y_t), \qquad
        \lambda \leftarrow \Pi\bigl(\lambda - \gamma (Y Y^\top + \rho I) \lambda\bigr), \qquad
        d = Y^\top \lambda

    where

    - the rows of Y are the averaged gradients :math:`y_t`, which begin at 0,
    - :math:`\lambda` are the weights, 1/T at the start, and :math:`\Pi` projects onto the simplex.

    With ``beta=1``, ``rho=0`` and many steps at one point the weights are those of :class:`MGDA`.

    **Cost per step:** T backward passes; it keeps a state ``[T, P]``.

    **When it helps:** small batches, whose noise moves the weights of :class:`MGDA` at random.

    **When not:** gradients of unknown size: the right ``gamma`` is proportional to one over their
    squared norm. With small gradients the weights hardly move, with large ones they jump.

    **Departs from the published code** for real data, which scales each gradient so that its norm
    is its loss and takes a softmax in the place of the projection; the numbers of the authors'
    package are the defaults.

    **Options:** ``beta`` (0.1), ``gamma`` (0.1), ``rho`` (0.1).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("moco", torch.tensor([[1.0, 0.0], [0.0, 3.0]]), beta=1.0, gamma=0.1, rho=0.0)
        tensor([0.7000, 0.9000])
    """

    reads_entries = True
    keeps_entries = True


class MoDo(AggregatorMethod):
    r"""Follow the shortest combination of gradients, with weights from two independent batches.

    **Source:** Chen, Fernando, Ying & Chen, *Three-Way Trade-Off in Multi-Objective Learning:
    Optimization, Generalization and Conflict-Avoidance*, NeurIPS 2023, `arXiv:2305.20057
    <https://arxiv.org/abs/2305.20057>`__.

    .. math::

        \lambda \leftarrow \Pi\bigl(\lambda - \gamma (G_1 G_2^\top + \rho I) \lambda\bigr), \qquad
        d = \tfrac12 (G_1 + G_2)^\top \lambda

    where

    - the rows of :math:`G_1, G_2` are the gradients on two independent batches, so that the noise
      of a batch is not in a product twice,
    - :math:`\lambda` are the weights, 1/T at the start, and :math:`\Pi` projects onto the simplex.

    With equal batches, ``rho=0``, a small ``gamma`` and many steps at one point the weights are
    those of :class:`MGDA`. With ``gamma=0`` it is the mean.

    **Cost per step:** two forward passes and 2 T backward passes. An epoch has as many steps as
    ever, and passes over the data twice.

    **When it helps:** small batches, whose noise moves the weights of :class:`MGDA` at random.

    **When not:** gradients of unknown size: the right ``gamma`` is proportional to one over their
    squared norm. With small gradients the weights hardly move, with large ones they jump.

    **Departs from the paper's theory,** in which a third batch gives the direction; the authors'
    code for the toy takes the mean of the two, as here. The heads learn from the first batch, whose
    losses are recorded.

    **Options:** ``gamma`` (0.1), ``rho`` (0.1).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]])  # of either batch
        >>> aggregate("modo", rows, gamma=0.1, rho=0.0)
        tensor([0.7000, 0.9000])
    """


class NashMTL(AggregatorMethod):
    r"""Take the Nash bargaining solution of the gradients.

    **Source:** Navon et al., *Multi-Task Learning as a Bargaining Game*, ICML 2022, claim 3.1,
    `arXiv:2202.01017 <https://arxiv.org/abs/2202.01017>`__.

    .. math:: d = \sum_t \alpha_t g_t, \qquad G \alpha = 1 / \alpha

    where

    - G is the Gramian of the gradients, :math:`\alpha` the positive weights that solve the
      equation,
    - :math:`\|d\| = \sqrt T`, then scaled to at most ``max_norm``.

    **Cost per step:** T backward passes and a few systems ``[T, T]``.

    **When it helps:** losses on any scales, since it is invariant to the scale of every loss.

    **When not:** gradients that cancel each other: where two are opposite it stands still.

    **Departs from the paper:** the equation is solved by ourselves
    (:class:`~mtl_runner.update.nash.Nash`), in closed form for two tasks and by Newton's method for
    more, not by a sequence of convex programs; so it needs no package.

    **Options:** ``max_norm`` (1.0; 0: not limited).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("nash_mtl", torch.tensor([[1.0, 0.0], [0.0, 10.0]])).round(decimals=2)
        tensor([0.7100, 0.7100])
    """


class PCD(AggregatorMethod):
    r"""Follow the first task as far as the others still progress.

    **Source:** *Not All Objectives Are Born Equal: Priority-Constrained Descent for Hierarchical
    Multi-Objective Optimization*, TMLR 2026, `arXiv:2606.29521
    <https://arxiv.org/abs/2606.29521>`__.

    .. math::

        \tilde d = \arg\min_d \tfrac{1}{2} \|d - \tilde g_1\|^2 \quad \text{subject to} \quad \tilde
        g_t^\top d \ge \tau \|\tilde g_t\|^2, \quad t = 2, \dots, T

    where

    - :math:`\tilde g_t = g_t / \sqrt{\hat v_t + \epsilon}`, and :math:`\hat v_t` is a running mean
      of :math:`\|g_t\|^2` with decay ``beta``,
    - :math:`\tau` is the share of its own best progress that every other task keeps.

    The direction is :math:`\tilde d` rescaled to the length of :math:`g_1`; the first active task
    is the primary one.

    **Cost per step:** T backward passes and a small quadratic program.

    **When it helps:** one main task with helpers.

    **When not:** tasks that count alike, since the order of the tasks matters.

    **Departs from TorchJD's defaults:** ``eps`` is 1e-20, since 1e-8 changes the method once
    gradients are small.

    **Options:** ``tau`` (0.02), ``beta`` (0.999), ``eps``.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("pcd", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([2.8500, 2.9800])
    """

    torchjd_class = "PCD"
    options: ClassVar[Mapping[str, Any]] = {"eps": 1e-20}


class PCGrad(AggregatorMethod):
    r"""Project the conflicting part out of each gradient, in random order.

    **Source:** Yu, Kumar, Gupta, Levine, Hausman & Finn, *Gradient Surgery for Multi-Task
    Learning*, NeurIPS 2020, algorithm 1, `arXiv:2001.06782 <https://arxiv.org/abs/2001.06782>`__.

    .. math::

        g_i \leftarrow g_i - \frac{g_i^\top g_j}{\|g_j\|^2} \, g_j
        \quad \text{if } g_i^\top g_j < 0, \qquad
        d = \sum_i g_i

    where j runs through the other tasks, in an order that is drawn anew for every task and step;
    :math:`g_j` is the gradient before any projection.

    **Cost per step:** T backward passes.

    **When it helps:** it removes pairwise conflict.

    **When not:** tasks that differ in size alone: without conflict it is the plain sum.

    It draws from a random stream of its own.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("pcgrad", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([2.2100, 3.6800])
    """

    torchjd_class = "PCGrad"
    is_random = True


class RandomWeights(AggregatorMethod):
    r"""Weigh the gradients at random in every step; for comparison.

    **Source:** Lin, Ye, Zhang & Tsang, *Reasonable Effectiveness of Random Weighting: A Litmus Test
    for Multi-Task Learning*, TMLR 2022, algorithm 2, `arXiv:2111.10603
    <https://arxiv.org/abs/2111.10603>`__.

    .. math:: d = \sum_t w_t g_t, \qquad w = \mathrm{softmax}(z), \quad z_t \sim N(0, 1)

    where z is drawn anew for every step, from a random stream of its own.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("random", torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
        tensor([1., 1.])
    """

    torchjd_class = "Random"
    is_random = True


class SDMGrad(AggregatorMethod):
    r"""Take the shortest combination of three batches' gradients, regularised towards their mean.

    **Source:** Xiao, Ban & Ji, *Direction-oriented Multi-objective Learning: Simple and Provable
    Stochastic Algorithms*, NeurIPS 2023, algorithm 1, `arXiv:2305.18409
    <https://arxiv.org/abs/2305.18409>`__.

    .. math::

        w \leftarrow \Pi\bigl(w - \eta \, G_1 (G_2^\top w + \kappa \bar g_2) / s^2\bigr), \qquad
        d = \frac{G_0^\top w + \kappa \, \bar g_0}{1 + \kappa}

    where

    - the rows of :math:`G_i` are the gradients on three independent batches, :math:`\bar g_i` is
      their mean; :math:`G_0` belongs to the batch whose losses are recorded,
    - w are the weights, 1/T before the first step, :math:`\Pi` projects onto the simplex, and
      ``steps`` such moves are made in every training step, each of size :math:`\eta`
      (``step_size``),
    - :math:`s = \tfrac1T \sum_t \langle g_{1,t}, g_{2,t} \rangle^{1/2}` is the mean length of a
      gradient, estimated from the two batches (a negative product counts as 0),
    - :math:`\kappa` is 0 for :class:`MGDA`, and large for the mean gradient.

    **Cost per step:** three forward passes and 3 T backward passes. An epoch has as many steps as
    ever, and passes over the data three times.

    **When it helps:** small batches; between the mean and :class:`MGDA`, by one number.

    **When not:** a model whose step is expensive: this takes three times as long.

    **Departs from the published code,** whose steps of size 5 with momentum 0.5 jump from corner to
    corner of the simplex where gradients agree; it divides by s², too, which the paper does not.

    **Options:** ``kappa`` (0.3), ``step_size`` (0.1), ``steps`` (20).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]])  # of each batch
        >>> aggregate("sdmgrad", rows, kappa=0.0, steps=200)
        tensor([0.9000, 0.3000])
    """


class Sum(AggregatorMethod):
    r"""Take the sum of the gradients: ``update=joint``, by T backward passes.

    .. math:: d = \sum_t g_t

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("sum", torch.tensor([[4.0, 1.0], [-1.0, 1.0]]))
        tensor([3., 2.])
    """

    torchjd_class = "Sum"


class TrimmedMean(AggregatorMethod):
    r"""Take the mean of each coordinate without its extremes.

    **Source:** Yin, Chen, Ramchandran & Bartlett, *Byzantine-Robust Distributed Learning: Towards
    Optimal Statistical Rates*, ICML 2018, `arXiv:1803.01498 <https://arxiv.org/abs/1803.01498>`__.

    .. math:: d_p = \frac{1}{T - 2b} \sum_{t = b + 1}^{T - b} g_{(t), p}

    where

    - :math:`g_{(1), p} \le \dots \le g_{(T), p}` are the sorted entries of coordinate p,
    - b is ``trim_number``, the number of entries that is left out at either end.

    **Cost per step:** T backward passes.

    **When it helps:** made for faulty workers of distributed training, as :class:`Krum`.

    **When not:** tasks that differ: a task unlike the others is ignored. It needs 2 b + 1 tasks;
    while fewer are active the mean is taken, and a warning says so.

    Its direction is no weighted sum of the rows, so ``aggregator_weight`` is empty.

    **Options:** ``trim_number`` (1).

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("trimmed_mean", torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]]))
        tensor([1., 1.])
    """

    torchjd_class = "TrimmedMean"
    reads_entries = True
    options: ClassVar[Mapping[str, Any]] = {"trim_number": 1}
    has_weights = False

    @staticmethod
    def fewest_rows(options: Mapping[str, Any]) -> int:
        """Return one more than the number of entries that are left out."""
        fewest: int = 2 * options["trim_number"] + 1
        return fewest


class UPGrad(AggregatorMethod):
    r"""Take the mean of the gradients, each projected so that it conflicts with none.

    **Source:** Quinton & Rey, *Jacobian Descent for Multi-Objective Optimization*, 2024,
    `arXiv:2406.16232 <https://arxiv.org/abs/2406.16232>`__.

    .. math::

        d = \sum_t w_t \, \pi_J(g_t), \qquad
        \pi_J(x) = \arg\min_y \|y - x\|^2 \ \text{ subject to } \ J y \ge 0

    where

    - :math:`\pi_J` projects onto the dual cone of the gradients, the directions that make no task
      worse,
    - :math:`w_t` are preferences, 1/T for every task by default.

    **Cost per step:** T backward passes and a small quadratic program.

    **When it helps:** never uphill on a task, to first order, and every task has its share.

    **When not:** where nothing conflicts it is the mean, at 1/T of the sum's length.

    **Departs from TorchJD's defaults:** the thresholds ``norm_eps`` and ``reg_eps`` are 1e-12 and
    1e-7; with 1e-4 it becomes the mean once the Jacobian's norm is under 0.01, and gives up a
    gradient a hundred times smaller than the largest. The Gramian is projected onto the
    semidefinite matrices in float64, since a quadratic program refuses what rounding leaves.

    **Options:** ``pref_vector`` (``{task: number}``; 1 each is the default), ``norm_eps``,
    ``reg_eps``. Needs ``pip install 'mtl-runner[solvers]'``.

    Example:
        >>> import torch
        >>> from mtl_runner.update.aggregators import aggregate
        >>> aggregate("upgrad", torch.tensor([[4.0, 1.0], [-1.0, 1.0]])).round(decimals=2)
        tensor([1.1000, 1.8400])
    """

    torchjd_class = "UPGrad"
    per_task_options = ("pref_vector",)
    divides_by_tasks = True
    takes_projector = True


METHODS: dict[str, type[AggregatorMethod]] = {
    "aligned_mtl": AlignedMTL,
    "auxinash": AuxiNash,
    "cagrad": CAGrad,
    "config": ConFIG,
    "constant": Constant,
    "db_mtl": DBMTL,
    "dualproj": DualProj,
    "excess_mtl": ExcessMTL,
    "fairgrad": FairGrad,
    "graddrop": GradDrop,
    "gradvac": GradVac,
    "imtl_g": IMTLG,
    "krum": Krum,
    "mean": Mean,
    "mgda": MGDA,
    "moco": MoCo,
    "modo": MoDo,
    "nash_mtl": NashMTL,
    "pcd": PCD,
    "pcgrad": PCGrad,
    "random": RandomWeights,
    "sdmgrad": SDMGrad,
    "sum": Sum,
    "trimmed_mean": TrimmedMean,
    "upgrad": UPGrad,
}
