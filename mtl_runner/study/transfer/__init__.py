"""Weights and a learning rate that are tuned on a narrow model, and tried on the wide one.

:mod:`~mtl_runner.study.transfer.options` reads the user's options,
:mod:`~mtl_runner.study.transfer.proxy` makes the narrow model,
:mod:`~mtl_runner.study.transfer.protocol` is a generator of rounds of runs,
:mod:`~mtl_runner.study.transfer.answers` says what came out, and
:mod:`~mtl_runner.study.transfer.sweeper` runs it all as a sweeper of Hydra's.
"""
