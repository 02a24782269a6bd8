"""What tests/conftest.py adds to pytest's own options."""

from pathlib import Path
from types import SimpleNamespace

import pytest


def test_the_first_cases_of_each_test_are_kept(request):
    conftest = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    names = ["a.py::one[1]", "a.py::one[2]", "a.py::one[3]", "a.py::two", "b.py::one[1]"]
    items, told = [SimpleNamespace(nodeid=name) for name in names], []
    hook = SimpleNamespace(pytest_deselected=lambda items: told.extend(item.nodeid for item in items))
    conftest._keep_first_cases(2, SimpleNamespace(hook=hook), items)
    assert told == ["a.py::one[3]"] and [item.nodeid for item in items] == [name for name in names if name not in told]


@pytest.mark.parametrize(
    ("words", "all_of_them", "left"),
    [(["tests"], False, 1), (["tests"], True, 2), (["a.py::two"], False, 2), (["tests", "a.py::one"], False, 1)],
)
def test_slow_tests_are_left_out_but_one_that_is_named(words, all_of_them, left, request):
    conftest = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    marks = {"a.py::one": {}, "a.py::two": {"slow": pytest.mark.slow("why").mark}}
    items = [SimpleNamespace(nodeid=name, get_closest_marker=each.get, fixturenames=[]) for name, each in marks.items()]
    config = SimpleNamespace(args=words, getoption={"--cases": None, "--all": all_of_them}.get, hook=SimpleNamespace(), stash={})
    config.hook.pytest_deselected = lambda items: None
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == list(marks)[:left]
    written = []
    conftest.pytest_terminal_summary(SimpleNamespace(write_line=written.append), config)
    assert written == (["slow tests left out: 1; --all runs them"] if left == 1 else [])
