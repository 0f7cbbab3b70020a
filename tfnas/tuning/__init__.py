"""Tuning of a recipe's hyper-parameters with KerasTuner.

`space` says what may be tuned, as data; `tuner` runs trials and keeps them.
"""
