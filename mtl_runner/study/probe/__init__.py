"""The probe: from a minute of short runs, how probable is it that weighting matters here?

:mod:`~mtl_runner.study.probe.options` reads the user's options,
:mod:`~mtl_runner.study.probe.plan` says which short runs there are,
:mod:`~mtl_runner.study.probe.measurement` reads what they recorded,
:mod:`~mtl_runner.study.probe.features` makes numbers of it that know no units,
:mod:`~mtl_runner.study.probe.model` makes probabilities of these,
:mod:`~mtl_runner.study.probe.advice` chooses three strategies,
:mod:`~mtl_runner.study.probe.answer` writes it all down, and
:mod:`~mtl_runner.study.probe.sweeper` runs it as a sweeper of Hydra's.
"""
