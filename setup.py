"""Packages of the distribution; everything else is in pyproject.toml.

`configs/` lies at the top of the tree, where it is easy to find, and is
installed as `tfnas.configs`. pyproject.toml cannot say that together with
automatic discovery.
"""

from setuptools import find_packages
from setuptools import setup

setup(
    packages=[
        *find_packages(include=["tfnas*", "tflite_bench*", "android_bench*"]),
        "tfnas.configs",
    ],
    package_dir={"tfnas.configs": "configs"},
)
