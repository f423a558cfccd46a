"""Engines' pages become one: what they write is checked line by line."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.management.engine_metrics import Merged

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="demo"} 2.0
# HELP vllm:ttft_seconds Time to first token.
# TYPE vllm:ttft_seconds histogram
vllm:ttft_seconds_bucket{le="0.1"} 1
vllm:ttft_seconds_bucket{le="+Inf"} 3
vllm:ttft_seconds_count 3
vllm:ttft_seconds_sum 1.5e+00
# TYPE process_open_fds gauge
process_open_fds 9
"""


def merged(*pages: tuple[str, str]) -> str:
    """Give several pages as one."""
    found = Merged()
    for backend, page in pages:
        found.add(backend, page.split("\n"))
    return found.text().decode()


def test_pages_become_one():
    """Each metric stands once, with all its samples behind it; what the router has, too, is the router's."""
    assert (
        merged(("one", VLLM), ('t"wo', VLLM))
        == """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{backend="one",engine="0",model_name="demo"} 2.0
vllm:num_requests_running{backend="t\\"wo",engine="0",model_name="demo"} 2.0
# HELP vllm:ttft_seconds Time to first token.
# TYPE vllm:ttft_seconds histogram
vllm:ttft_seconds_bucket{backend="one",le="0.1"} 1
vllm:ttft_seconds_bucket{backend="one",le="+Inf"} 3
vllm:ttft_seconds_count{backend="one"} 3
vllm:ttft_seconds_sum{backend="one"} 1.5e+00
vllm:ttft_seconds_bucket{backend="t\\"wo",le="0.1"} 1
vllm:ttft_seconds_bucket{backend="t\\"wo",le="+Inf"} 3
vllm:ttft_seconds_count{backend="t\\"wo"} 3
vllm:ttft_seconds_sum{backend="t\\"wo"} 1.5e+00
"""
    )
    assert len(list(text_string_to_metric_families(merged(("one", VLLM), ("two", VLLM))))) == 2


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("a 1", 'a{backend="b"} 1'),
        ("a{} 1", 'a{backend="b"} 1'),
        ('a{x="1",} 1 1700000000000', 'a{backend="b",x="1"} 1'),
        ('a { x = "1" , y = "2" } NaN', 'a{backend="b",x="1",y="2"} NaN'),
        ('a{x="a,backend=b} 7"} +Inf', 'a{backend="b",x="a,backend=b} 7"} +Inf'),
        ('a{backend="c"} 1', 'a{backend="b",exported_backend="c"} 1'),
        (r'a{x="\"\\\n"} 1', r'a{backend="b",x="\"\\\n"} 1'),
        ('a{backend="c",exported_backend="d"} 1', ""),
        ('a{exported_backend="d",backend="c"} 1', ""),
        ('a{x="1",x="1"} 1', ""),
        ('a{__name__="router_backend_up"} 1', ""),
        ("a", ""),
        ("a x", ""),
        ("a -nan", ""),
        ("a \u0661", ""),
        ("a 1e999", ""),
        ("a -.5e-3", 'a{backend="b"} -.5e-3'),
        ("a -Infinity", 'a{backend="b"} -Infinity'),
        ("a 1_0", ""),
        ("1a 1", ""),
        ('a{x="1} 1', ""),
        ('a{x="1"} 1 # {trace="x"} 1', ""),
        ("router_backend_up 1", ""),
        ('router_requests_total{backend="b"} 1', ""),
        ('router_request_duration_seconds_bucket{le="1"} 1', ""),
        ("process_cpu_seconds_total 1", ""),
        ("<html>", ""),
        ("", ""),
    ],
)
def test_a_line(line, written):
    """A sample gets its backend; what is none, is refused by Prometheus, or would be the router's, is left out."""
    assert merged(("b", line)) == (f"{written}\n" if written else "")


def test_a_line_that_would_take_long():
    """Labels that never end cost no more than their length."""
    assert merged(("b", "a{" + 'x = "1" , ' * 20_000 + "!} 1")) == ""


def test_odd_comments():
    """A type that Prometheus doesn't know is left out; text behind it can't begin another line."""
    page = "# TYPE a nonsense\n# HELP a b\r\n# EOF\n# more\na 1"
    assert merged(("b", page)) == '# HELP a b\r\na{backend="b"} 1\n'
