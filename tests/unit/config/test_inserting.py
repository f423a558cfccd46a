"""What is added, and that every other letter stays."""

import textwrap

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.config.inserting import InsertError, Layout, inserted


def entry(layout: Layout) -> list[str]:
    before = " " * layout.dash
    return [
        f"{before}-{' ' * (layout.key - 1)}name: new",
        f"{before}{' ' * layout.key}launch:",
        f"{before}{' ' * (layout.key + layout.step)}model: m",
    ]


NEW = {"name": "new", "launch": {"model": "m"}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # At the end.
        (
            """\
            backends:
              - name: a
                url: http://a  # mine
            """,
            """\
            backends:
              - name: a
                url: http://a  # mine
              - name: new
                launch:
                  model: m
            """,
        ),
        # Comments below the last entry are its own if they are indented; sections may follow.
        (
            """\
            backends:
              - name: a
                url: http://a
                # weight: 1

              # another one:
            routes: {}
            """,
            """\
            backends:
              - name: a
                url: http://a
                # weight: 1
              - name: new
                launch:
                  model: m

              # another one:
            routes: {}
            """,
        ),
        # As the file is indented.
        (
            """\
            backends:
            -   name: a
                launch:
                        model: b
            server: {}
            """,
            """\
            backends:
            -   name: a
                launch:
                        model: b
            -   name: new
                launch:
                        model: m
            server: {}
            """,
        ),
        # Behind text of several lines, and behind brackets.
        (
            """\
            backends:
              - {name: a,
                 url: "http://a"}
              - name: b
                launch:
                  model: |
                    x

            # the end
            """,
            """\
            backends:
              - {name: a,
                 url: "http://a"}
              - name: b
                launch:
                  model: |
                    x
              - name: new
                launch:
                  model: m

            # the end
            """,
        ),
        # An empty list, and none at all.
        (
            "server: {}\nbackends:   # none yet\nroutes: {}\n",
            "server: {}\nbackends:   # none yet\n  - name: new\n    launch:\n      model: m\nroutes: {}\n",
        ),
        ("backends:", "backends:\n  - name: new\n    launch:\n      model: m\n"),
        ("", "backends:\n  - name: new\n    launch:\n      model: m\n"),
        ("# mine\n", "# mine\n\nbackends:\n  - name: new\n    launch:\n      model: m\n"),
        ("server: {}", "server: {}\n\nbackends:\n  - name: new\n    launch:\n      model: m\n"),
    ],
)
def test_where_it_goes(before, after):
    before, after = textwrap.dedent(before), textwrap.dedent(after)
    assert inserted(before, entry) == after


def test_the_files_own_line_breaks():
    text = "backends:\r\n  - url: a\r\nroutes: {}\r\n"
    assert inserted(text, entry) == (
        "backends:\r\n  - url: a\r\n  - name: new\r\n    launch:\r\n      model: m\r\nroutes: {}\r\n"
    )
    assert inserted("backends:\r\n  - url: a", entry).endswith(
        "a\r\n  - name: new\r\n    launch:\r\n      model: m\r\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "backends: [{url: a}]\n",
        "backends: []\n",
        "{backends: []}\n",
        "x: &a []\nbackends: *a\n",
        "backends: 5\n",
        "[]\n",
    ],
)
def test_what_can_not_be_added_to(text):
    with pytest.raises(InsertError):
        inserted(text, entry)


SCALARS = st.sampled_from(["a", '"b c"', "'#'", "5", "[1, 2]", "{x: 1}", "|\n@x\n@ y\n", ">-\n@x\n\n@y"])


@given(
    st.lists(
        st.tuples(SCALARS, SCALARS, st.sampled_from(["", "  # c", "\n", "\n      # in", "\n  # out"])), min_size=1
    ),
    st.sampled_from([0, 2, 4]),
    st.sampled_from(["", "routes: {}\n", "# end\n"]),
    st.booleans(),
)
def test_all_else_means_what_it_meant(backends, dash, behind, has_break):
    """Whatever stands in the file: the data is the same, with the entry at the end of its list."""
    lines = ["# top", "backends:"]
    for first, second, comment in backends:
        for mark, key, value in (("- ", "a", first), ("  ", "b", second)):
            block = value.replace("@", " " * (dash + 6))
            is_block = "\n" in value
            lines += [f"{' ' * dash}{mark}{key}: {block}" + ("" if is_block or key == "a" else comment)]
    text = "\n".join(lines) + "\n" * has_break + ("\n" * (not has_break) + behind if behind else "")
    was = yaml.safe_load(text)
    now = yaml.safe_load(inserted(text, entry))
    assert now.pop("backends") == [*was.pop("backends"), NEW]
    assert now == was
    for line in text.splitlines():
        assert line in inserted(text, entry).splitlines()
