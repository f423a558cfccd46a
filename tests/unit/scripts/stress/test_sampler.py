from scripts.stress.results import Sample
from scripts.stress.sampler import coarser, processes


def sample(at, step=0, **more):
    return Sample(float(at), 1.0, step, 5, 0, 10, 1, 100, 0.1, 0.5, **more)


def test_coarser_samples_count_the_same():
    """Two become one, with the counts of both; not those of different steps."""
    samples = [sample(0), sample(1), sample(2), sample(3, step=1), sample(4, step=1)]
    found = coarser(samples)
    assert [(each.at, each.step, each.seconds, each.ended) for each in found] == [
        (1.0, 0, 2.0, 20), (2.0, 0, 1.0, 10), (3.0, 1, 1.0, 10), (4.0, 1, 1.0, 10),
    ]  # fmt: skip
    assert sum(each.tokens for each in found) == 500


def test_what_processes_used():
    """CPU is the mean over time, memory from the first reading to the last; none where nothing was read."""
    readings = [(None, 1e6), (0.5, 4e6), (1.5, 3e6)]
    server, children = processes([sample(0, server_cpu=cpu, server_memory=memory) for cpu, memory in readings])
    assert server is not None
    assert (server.cpu, server.memory_begin, server.memory_end, server.memory_most) == (1.0, 1e6, 3e6, 4e6)
    assert children is None
