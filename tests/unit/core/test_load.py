import time

import pytest

from router.core.load import MOST, Load, Work, load_of, work_of

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/name"} 3.0
vllm:num_requests_running{engine="1",model_name="org/name"} 2.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="org/name"} 1.0
vllm:num_requests_waiting{engine="1",model_name="org/name"} 0.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="org/name",reason="capacity"} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="org/name"} 7.0
"""

SGLANG = b"""\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="m",priority="",tp_rank="0"} 5.0
sglang:num_running_reqs{engine_type="unified",model_name="m",priority="1",tp_rank="0"} 4.0
sglang:num_running_reqs{engine_type="unified",model_name="m",priority="2",tp_rank="0"} 1.0
sglang:num_running_reqs_offline_batch{engine_type="unified",model_name="m",priority="",tp_rank="0"} 9.0
sglang:num_queue_reqs{engine_type="unified",model_name="m",priority="",tp_rank="0"} 2.0
"""

LLAMA = b"""\
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
# HELP llamacpp:requests_deferred Number of requests deferred.
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 2
"""

TGI = b"# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size 8\n# TYPE tgi_queue_size gauge\ntgi_queue_size 0\n"

ROUTER = b"""\
# TYPE router_requests_in_flight gauge
router_requests_in_flight{backend="vllm:num_requests_running 3"} 3
process_open_fds 12
"""


@pytest.mark.parametrize(
    ("page", "load"),
    [(VLLM, Load(5, 1)), (SGLANG, Load(5, 2)), (LLAMA, Load(4, 2)), (TGI, Load(8, 0))],
    ids=["vllm", "sglang", "llama_server", "tgi"],
)
def test_each_engines_page_is_read(page, load):
    """Engines in one server are summed; what is a part of another count isn't; line ends may be those of HTTP."""
    assert load_of(page) == load_of(page.replace(b"\n", b"\r\n")) == load_of(page.removesuffix(b"\n")) == load


@pytest.mark.parametrize(
    ("line", "load"),
    [
        (b"tgi_queue_size 1", Load(0, 1)),
        (b"tgi_queue_size\t1e1 1395066363000", Load(0, 10)),
        (b'vllm:num_requests_running{model_name="a} \\" {b"} 1', Load(1, 0)),
    ],
)
def test_odd_lines_are_read_as_they_are_meant(line, load):
    """A gauge that isn't there yet, times of samples, braces in a label."""
    assert load_of(line) == load


@pytest.mark.parametrize(
    "page",
    [
        b"",
        ROUTER,
        b"<html>vllm:num_requests_running 3</html>",
        b"\xff\xfe\x00\n" * 100,
        b"tgi_queue_size",
        b"tgi_queue_size many",
        b"tgi_queue_size NaN",
        b"tgi_queue_size +Inf",
        b"tgi_queue_size -1",
        b"tgi_queue_size 1e999",
        b"tgi_queue_size 1.2.3",
        b"tgi_queue_size %d" % (MOST + 1),
        b"tgi_queue_size 1\ntgi_batch_current_size ee",
        b"tgi_queue_size_bucket 1",
        b'tgi_queue_size{a="b" 1',
    ],
)
def test_what_tells_nothing_is_no_load(page):
    """Another program's page, a router's too, and numbers that can't be."""
    assert load_of(page) is None


@pytest.mark.parametrize(
    "page",
    [
        b"\nvllm:num_requests_running{" * 80_000,
        b"\nvllm:num_requests_running{}" * 80_000,
        b"\nvllm:num_requests_running 0" * 80_000,
        b"\nvllm:num_requests_running" + b" " * 2_000_000,
        b"\nvllm:num_requests_running" + b"{" * 2_000_000,
        b"\nvllm:num_requests_running{}" + b"}" * 2_000_000,
        b"\nvllm:num_requests_running " + b"1" * 2_000_000,
    ],
)
def test_a_hostile_page_costs_no_time(page):
    """But what grows with its length: a hundredth of the bound. What is quadratic takes a thousand times as long."""
    began = time.process_time()
    load_of(page)
    assert time.process_time() - began < 5


STEPS = b"""\
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="org/name"} 100.0
vllm:prompt_tokens_total{engine="1",model_name="org/name"} 1.0e+02
vllm:prompt_tokens_created{engine="0",model_name="org/name"} 1.7e+09
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="org/name"} 900.0
vllm:iteration_tokens_total_count{engine="0",model_name="org/name"} 30.0
vllm:generation_tokens_total{engine="0",model_name="org/name"} 5.0
"""


@pytest.mark.parametrize(
    ("page", "work"),
    [
        (STEPS, Work(235, tells=True)),
        (b"llamacpp:n_decode_total 7\nllamacpp:tokens_predicted_total 20\n", Work(27, tells=True)),
        (b"llamacpp:tokens_predicted_total 20\n", Work(20, tells=False)),  # an older one counts when an answer ends
        (b'sglang:generation_tokens_total{model_name="m"} 3.0\n', Work(3, tells=False)),
        (VLLM, None),
        (ROUTER, None),
        (b"llamacpp:n_decode_total 1e\n", None),
        (b"", None),
    ],
)
def test_counters_of_work(page, work):
    """All of an engine's in one sum; whether each step shows depends on which are there."""
    assert work_of(page) == work
