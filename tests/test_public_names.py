"""`import tfnas` is instant, and its public names are there when asked for."""

import subprocess
import sys

import pytest

import tfnas


@pytest.mark.parametrize(
    "name", [name for name in dir(tfnas) if not name.startswith("_")]
)
def test_public_name_loads(name):
    assert getattr(tfnas, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tfnas.nonsense


def test_import_alone_loads_nothing_heavy():
    script = (
        "import sys, tfnas\n"
        "assert 'Arch' in dir(tfnas)\n"
        "heavy = {'numpy', 'tensorflow', 'keras', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
