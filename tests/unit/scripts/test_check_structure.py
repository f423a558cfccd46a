import pytest

from scripts.check_structure import circles, problems, read


@pytest.fixture
def tree(tmp_path):
    """Give a project of two files that import each other, one for types alone."""
    (tmp_path / "router").mkdir()
    (tmp_path / "router/__init__.py").write_text("")
    (tmp_path / "router/a.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from router.b import B\nclass A:\n    x = 1\n"
    )
    (tmp_path / "router/b.py").write_text(
        "from router import a\nclass B:\n    y: int\n"
        "    def __init__(self):\n        self.z, self.y = 1, 2\n        a.x = 3\n"
    )
    return tmp_path


def test_a_circle_is_found_though_one_half_is_for_types_alone(tree):
    """And each of its files is named."""
    assert list(problems(read(tree), {})) == ["these files import each other in a circle: router.a, router.b"]


def test_what_two_circles_have_to_do_with_each_other():
    """One that leads into another isn't in it."""
    imports = {"a": frozenset("b"), "b": frozenset("a"), "c": frozenset("ad"), "d": frozenset("c"), "e": frozenset("a")}
    assert circles(imports) == [["a", "b"], ["c", "d"]]
    assert circles({"a": frozenset("b"), "b": frozenset()}) == []


def test_attributes_are_those_of_a_class_and_of_self(tree):
    """Each is counted once, and what others have is not."""
    files = read(tree)
    assert (files["router/a.py"].attributes, files["router/b.py"].attributes) == ({"A": 1}, {"B": 2})


def test_sizes_and_their_exceptions(tmp_path):
    """What is too large is said, and so is an exception that allows too much, or is of nothing."""
    (tmp_path / "router").mkdir()
    names = ", ".join(f"self.x{number}" for number in range(21))
    (tmp_path / "router/wide.py").write_text(f"class Wide:\n    def f(self):\n        {names} = range(21)\n")
    (tmp_path / "router/long.py").write_text("\n" * 401)
    files = read(tmp_path)
    assert list(problems(files, {})) == [
        "router/long.py has 401 lines; at most 400 are read with ease: part it",
        "router/wide.py Wide has 21 attributes; at most 20 are read with ease: part it",
    ]
    allowed = {"router/long.py": (402, "r"), "router/wide.py Wide": (21, "r")}
    assert list(problems(files, allowed)) == []
    assert list(problems(files, {**allowed, "router/long.py": (500, "r"), "router/gone.py": (500, "r")})) == [
        "router/long.py has 401 lines now: lower its exception, or take it out",
        "router/gone.py has an exception, and is gone: take it out",
    ]
