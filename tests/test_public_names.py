"""`import tfnas` is instant; its public names are there, with examples."""

import ast
import doctest
import inspect
import subprocess
import sys

import pytest

import tfnas
from tests.cost.lut_tables import make_table
from tfnas.errors import ConfigError
from tfnas.results import Found

NAMES = [name for name in dir(tfnas) if not name.startswith("_")]
# Their examples search, measure or train for longer than a test should.
LONG = {"report", "run", "run_search"}


@pytest.mark.parametrize("name", NAMES)
def test_public_name_loads(name):
    assert getattr(tfnas, name) is not None


def _examples(name):
    test = doctest.DocTestParser().get_doctest(
        getattr(tfnas, name).__doc__, {"tfnas": tfnas}, name, None, 0
    )
    assert test.examples and "Example:\n" in test.docstring
    return test


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that examples load."""
    path = tmp_path_factory.mktemp("examples")
    space = tfnas.spaces.get("densenas_mbv2@32")
    space.sample(0).save(path / "arch.json")
    make_table(space.lut_keys()).save(path / "table.json")
    header = {"algorithm": "densenas", "space": space.name, "seed": 0}
    result = tfnas.SearchResult(header, [Found(space.sample(0), 4.5)], [], [])
    result.save(path / "runs/first/result.json")
    return path


class _Checker(doctest.OutputChecker):
    """What an example shows must be so; what is printed need not be shown."""

    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)


@pytest.mark.parametrize("name", sorted(set(NAMES) - LONG))
def test_example_of_a_public_name_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    runner = doctest.DocTestRunner(_Checker(), verbose=False)
    said = []
    runner.run(_examples(name), out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", sorted(LONG))
def test_long_example_calls_what_is_there_as_it_may_be_called(name):
    source = "".join(example.source for example in _examples(name).examples)
    calls = [
        node for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith("tfnas.")
    ]
    assert any(ast.unparse(node.func).find(name) > 0 for node in calls)
    for node in calls:
        function = eval(ast.unparse(node.func), {"tfnas": tfnas})
        inspect.signature(function).bind(
            *node.args, **{word.arg: word.value for word in node.keywords}
        )


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


@pytest.mark.parametrize("config", ["densenas_mbv2:local", None, {"seed": 0}])
@pytest.mark.parametrize("name", ["run", "run_search"])
def test_what_is_no_config_is_refused_with_how_to_make_one(
    name, config, tmp_path
):
    with pytest.raises(ConfigError, match=r"tfnas\.config\(.*Received"):
        getattr(tfnas, name)(config, tmp_path / "w")
    assert not (tmp_path / "w").exists()
