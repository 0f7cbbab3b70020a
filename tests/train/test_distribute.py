"""Strategies by name, and several machines as several processes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import programs
from tests import tiny_runs
from tfnas import artifacts
from tfnas.errors import ConfigError
from tfnas.search import runner
from tfnas.train import distribute

RESOLVER = tf.distribute.cluster_resolver.SimpleClusterResolver
