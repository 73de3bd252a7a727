"""The search for fixed weights and a learning rate: which settings are tried, and in which order.

:mod:`~mtl_runner.study.search.options` reads the user's options,
:mod:`~mtl_runner.study.search.space` says what a trial can be,
:mod:`~mtl_runner.study.search.proposals` asks Optuna,
:mod:`~mtl_runner.study.search.trials` keeps the record, and
:mod:`~mtl_runner.study.search.sweeper` runs it all as a sweeper of Hydra's.
"""
