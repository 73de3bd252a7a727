"""The laws of published methods, checked on any implementation: ``mtl-conform``.

- :mod:`~mtl_runner.conform.laws` says which laws hold for which method, and where they stand;
- :mod:`~mtl_runner.conform.weighting_checks` and :mod:`~mtl_runner.conform.aggregator_checks`
  measure them, in :class:`~mtl_runner.conform.session.Session`, a training run in miniature;
- :mod:`~mtl_runner.conform.interfaces` knows how a class is called, and
  :mod:`~mtl_runner.conform.subject` how it is made;
- :func:`~mtl_runner.conform.card.make_card` does all of it.
"""
