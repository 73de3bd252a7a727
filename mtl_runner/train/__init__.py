"""The training loop of a run: epochs, evaluation, the best model, checkpoints, metrics.csv.

The loop knows neither the command line nor what else a run directory holds; it is given an
experiment (:class:`mtl_runner.experiment.build.Experiment`) and a folder. Many runs that differ
only in numbers are trained as one in :mod:`mtl_runner.train.stack`.
"""
