"""Imported before Keras, by the packages whose modules import it.

A Keras that cannot be used then ends the import with a `ConfigError` that
names the setting, not with whatever Keras meets first.
"""

from tfnas import keras_settings

keras_settings.check()
