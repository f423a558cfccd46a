"""A real Ray cluster on this machine, by Ray's own utilities: a head without resources, and nodes beside it.

Run by the Python that has Ray. It prints what a test needs as a line of JSON, then does as stdin says, a word a line:
`head` kills the head's process (the GCS), `again` starts it at its old place, `node` adds one more node.
"""

import contextlib
import json
import sys
import threading
import time
from typing import Any

from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}


def add(cluster: Any) -> None:
    """Add a node that has one place for an engine, and, as far as Ray knows, two GPUs."""
    cluster.add_node(num_cpus=2, num_gpus=2, resources={"place": 1}, labels={"kind": "worker"}, **SMALL)


def say(**fields: str) -> None:
    """Tell the test something."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def reap(cluster: Any) -> None:
    """Take note of processes that were killed, as process 1 of a node does: workers ask whether their raylet lives."""
    while True:
        time.sleep(0.05)
        for node in cluster.list_all_nodes():
            for processes in node.all_processes.values():
                for each in processes:
                    each.process.poll()


def main(nodes: int) -> None:
    """Keep the cluster until stdin ends."""
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "labels": {"kind": "head"}, **SMALL})
    for _ in range(nodes):
        add(cluster)
    threading.Thread(target=reap, args=(cluster,), daemon=True).start()
    say(address=cluster.address)
    try:
        for line in sys.stdin:
            match line.strip():
                case "head":
                    cluster.head_node.kill_gcs_server()
                case "again":
                    cluster.head_node.start_gcs_server()
                case "node":
                    add(cluster)
            say(done=line.strip())
    finally:
        with contextlib.suppress(Exception):  # some were killed by a test
            cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
