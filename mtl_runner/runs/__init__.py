"""One run in its directory, from the claim of the directory to the trained model it leaves.

The modules, in the order in which a run meets them:

- :mod:`~mtl_runner.runs.request`: what to run, and how it ended.
- :mod:`~mtl_runner.runs.directory`: whether a directory is free, holds this run, or another one.
- :mod:`~mtl_runner.runs.records`, :mod:`~mtl_runner.runs.lock`: what it says of its run, and who
  writes there.
- :mod:`~mtl_runner.runs.runner` and :mod:`~mtl_runner.runs.stacked`: one run, or many at once.
- :mod:`~mtl_runner.runs.lifecycle`, :mod:`~mtl_runner.runs.logs`: beginning, end and messages.
- :mod:`~mtl_runner.runs.summary`, :mod:`~mtl_runner.runs.predictions`,
  :mod:`~mtl_runner.runs.fit_curve`, :mod:`~mtl_runner.runs.panel`: the numbers it leaves.
- :mod:`~mtl_runner.runs.predictor`, :mod:`~mtl_runner.runs.result`: using a finished run.
- :mod:`~mtl_runner.runs.predict_command`, :mod:`~mtl_runner.runs.export_command`,
  :mod:`~mtl_runner.runs.prune_command`: the same from a terminal, and removing its checkpoints.

This room knows neither Hydra's plugins (``launch``) nor studies (``study``).
"""
