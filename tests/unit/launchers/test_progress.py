"""What counts as progress of a load, and its share, from samples and lines alone."""

import pytest

from launchers.progress import LEAST_BYTES, MOST_KINDS, MOST_SHARE, Load, Progress, Sample

MIB = 1 << 20
NOTHING = Sample()


Look = tuple[Sample, list[str]]


def moves(*looks: Look, engine="llama_server", size=0) -> list[bool]:
    """Whether each look shows progress, in order."""
    load = Load(engine, size)
    return [load.look(sample, lines).moved for sample, lines in looks]


def said(*lines: str) -> list[bool]:
    """Whether each of these lines shows progress, each said after those before it."""
    return moves(*((NOTHING, [*lines[: number + 1]]) for number in range(len(lines))))


@pytest.mark.parametrize("field", Sample._fields)
def test_bytes_that_grow_are_progress(field):
    looks: list[Look] = [(NOTHING._replace(**{field: size * MIB}), []) for size in (20, 20, 40)]
    assert moves(*looks) == [True, False, True]


def test_a_slow_leak_is_progress_only_when_enough_has_come_together():
    found = moves(*((Sample(resident=size * MIB), []) for size in range(1, 49)))
    assert found == [size * MIB % LEAST_BYTES == 0 for size in range(1, 49)]


def test_memory_that_is_given_back_and_taken_again_is_none():
    """A process that ends takes its figures along; a garbage collector works."""
    looks: list[Look] = [(Sample(resident=size * MIB, read=size * MIB), []) for size in (100, 20, 100, 20, 100)]
    assert moves(*looks) == [True, False, False, False, False]


def test_a_hung_engine_shows_none():
    assert moves(*[(Sample(100 * MIB, 3 * MIB, 1), ["loading"])] * 5) == [True, False, False, False, False]


@pytest.mark.parametrize(
    "lines",
    [
        ["loading", "building the cache", "warming up"],
        [
            "Capturing CUDA graphs:   0%|          | 0/67 [00:00<?, ?it/s]",
            "Capturing CUDA graphs:   1%|▏         | 1/67",
        ],
        ["shard 1/7", "shard 2/7", "shard 7/7"],
        ["Fetching 12 files:   0%|", "Fetching 12 files:   8%|", "Fetching 12 files:  17%|"],
        ["...", "....", "....."],
        ["10%", "20%"],
    ],
    ids=["stages", "graphs", "shards", "a download", "dots", "a bare percentage"],
)
def test_lines_that_tell_of_more_are_progress(lines):
    assert all(said(*lines))


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("loading", ["loading", "loading"]),
        (
            'INFO:     127.0.0.1:40112 - "GET /health HTTP/1.1" 503 Service Unavailable',
            ['INFO:     127.0.0.1:40114 - "GET /health HTTP/1.1" 503 Service Unavailable'],
        ),
        ("waited for 10 s", ["waited for 20 s", "waited for 3000 s"]),
        ("0.00.008.305 I srv          init: waiting", ["0.10.008.305 I srv          init: waiting"]),
        ("(Core pid=413) INFO 11-23 04:28:42 [x.py:1] waits", ["(Core pid=413) INFO 11-24 05:28:42 [x.py:1] waits"]),
        ("request req-8f3a91 waits", ["request req-77bc01 waits"]),
        ("shard 3/7", ["shard 3/7", "shard 2/7", "shard 9/7"]),
        ("loading  45%|████▌     | 45/100 [00:10<00:12]", ["loading  45%|████▌     | 45/100 [10:10<00:12]"]),
        ("2026/11/29 waits", ["2026/11/30 waits"]),
    ],
)  # fmt: skip
def test_the_same_again_is_none_whatever_its_numbers(first, again):
    assert said(first, *again) == [True, *[False] * len(again)]


@pytest.mark.parametrize("spinner", ["|/-\\", "⠋⠙⠹⠸", "  "])
def test_a_spinner_is_none(spinner):
    assert not any(said(*spinner))


def test_the_same_lines_may_be_given_again():
    """Who looks has only the last ones."""
    load = Load("mlx")
    assert load.look(NOTHING, ["a", "b"]).moved
    assert not load.look(NOTHING, ["a", "b"]).moved
    assert load.look(NOTHING, ["b", "c"]).moved


def test_kinds_of_lines_are_bounded():
    """Nothing grows for ever, and random words show nothing."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [one + two for one in letters for two in letters]
    load = Load("mlx")
    found = [load.look(NOTHING, [word]).moved for word in words]
    assert found == [number < MOST_KINDS for number in range(len(words))]


@pytest.mark.parametrize(
    ("engine", "line", "share"),
    [
        ("vllm", "Loading safetensors checkpoint shards:  45% Completed | 5/11 [00:01<00:01,  4.45it/s]", 0.45),
        ("vllm", "(EngineCore pid=9) \x1b[36mLoading pt checkpoint shards:  45% Completed | 5/11 [00:01<", 0.45),
        ("vllm", "Loading safetensors using Runai Model Streamer:   9% Completed | 1/11 [00:01<00:01", 0.09),
        ("vllm", "Loading safetensors checkpoint shards: 100% Completed | 11/11 [00:01<00:01,  4.45it/s]", MOST_SHARE),
        ("vllm", "Capturing CUDA graphs:  45%|████▌     | 30/67 [00:05<00:06,  5.53it/s]", 0.0),
        ("vllm", "....................", 0.0),
        ("llama_server", "....................", 0.2),
        ("llama_cpp", "." * 100, MOST_SHARE),
        ("llama_server", ".", 0.0),
        ("llama_server", "loading...", 0.0),
        ("mlx", "Loading safetensors checkpoint shards:  45% Completed", 0.0),
    ],
)
def test_an_engine_tells_its_share(engine, line, share):
    assert Load(engine).look(NOTHING, ["loading", line, "and more"]).share == share


def test_a_second_model_that_an_engine_loads_takes_nothing_back():
    """A draft model has shards of its own."""
    load = Load("vllm")
    lines = [f"Loading safetensors checkpoint shards: {percent}% Completed" for percent in (0, 50, 100, 0)]
    assert [load.look(NOTHING, [line]).share for line in lines] == [0.0, 0.5, MOST_SHARE, MOST_SHARE]


@pytest.mark.parametrize(
    ("sample", "share"),
    [
        (Sample(25 * MIB), 0.25),
        (Sample(25 * MIB, read=40 * MIB), 0.4),
        (Sample(wrote=40 * MIB), 0.0),
        (Sample(300 * MIB), MOST_SHARE),
    ],
    ids=["in memory", "on its way to a GPU", "a download", "with a cache"],
)
def test_who_tells_nothing_has_the_share_of_its_files(sample, share):
    assert Load("mlx", 100 * MIB).look(sample, []).share == share
    assert Load("mlx").look(sample, []).share == 0.0
    assert Load("vllm", 100 * MIB).look(sample, []).share == 0.0


def test_a_share_never_falls():
    load = Load("mlx", 100 * MIB)
    assert [load.look(Sample(size * MIB), []).share for size in (10, 50, 20)] == [0.1, 0.5, 0.5]


def test_a_look_tells_both():
    assert Load("mlx", 100 * MIB).look(Sample(50 * MIB), []) == Progress(0.5, moved=True)


def test_a_long_line_takes_no_long_time():
    """Each look reads forty lines, while others are served."""
    assert Load("vllm").look(NOTHING, ["Loading " + "1/" * 100_000] * 40).moved
