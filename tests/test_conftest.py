"""What tests/conftest.py adds to pytest's own options."""

from pathlib import Path
from types import SimpleNamespace


def test_the_first_cases_of_each_test_are_kept(request):
    conftest = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    names = ["a.py::one[1]", "a.py::one[2]", "a.py::one[3]", "a.py::two", "b.py::one[1]"]
    items, told = [SimpleNamespace(nodeid=name) for name in names], []
    hook = SimpleNamespace(pytest_deselected=lambda items: told.extend(item.nodeid for item in items))
    conftest._keep_first_cases(2, SimpleNamespace(hook=hook), items)
    assert told == ["a.py::one[3]"] and [item.nodeid for item in items] == [name for name in names if name not in told]
