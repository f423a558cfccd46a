"""Places node routers on a Ray cluster, as the router says: a program beside it, in the cluster's environment.

It needs Ray as the cluster has it, and of ours nothing but this file: the router starts it by its path, with the Python
of `ray.python`, and never imports Ray itself. Each message is a line of JSON. The end of stdin is the router's, and
ends everything here.

    router → helper   {"do": "place", "name", "asks": {"gpus", "cpus", …}, "python", "config", "start_within"}
                      {"do": "remove", "name", "seconds"}
    helper → router   {"is": "connected", "ray", "nodes"}, {"is": "nodes", "nodes"}
                      {"is": "placed" | "up" | "away" | "back" | "gone" | "removed", "name", …}

A replica is an actor (`NodeRouter`), for which Ray reserves what it asks: Ray's autoscaler sees its demand while it is
pending. The actor runs one router of ours as a process, and tells where it serves. Actors belong to this program, so
Ray ends them when it ends, however it ends. Each node router ends with its actor's process (`router.cluster.ray_node`),
and its keeper ends its engines.

An engine over several nodes makes a placement group of its own, as vllm does. Whether there is room for it is found by
a group of ours first, which is removed again; the node router is placed on its first node, without GPUs.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

CONNECTS_WITHIN = 20.0
"""Seconds in which the cluster must be found."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the cluster's nodes."""

AWAY_FOR = 3.0
"""Seconds for which an actor may be unreachable before it is given up. Ray itself takes half a minute to see that a
node is dead; a node router that works meanwhile is placed a second time for nothing."""

SUSPECT_FOR = 60.0
"""Seconds for which no replica is placed on a node that was lost: Ray may take it to be alive for as long."""

MOST_SAID = 4000
"""Characters of what a node router said last, for the reason why it ended."""

MOST_OF_A_REASON = 500
"""Characters."""

FOLDERS = "router-on-ray-"
"""How the folders of node routers begin; the actor's pid follows."""

NODE_ID = "ray.io/node-id"
"""The label by which Ray knows a node."""


class NodeRouter:
    """One router of ours on a node, with what Ray assigned to this actor.

    Ray carries this class to the nodes: it may refer to nothing of ours outside this file.
    """

    def place(self) -> dict[str, Any]:
        """Tell where this actor is, and what it has."""
        import ray  # noqa: PLC0415 -- on the node

        context = ray.get_runtime_context()
        node = context.get_node_id()
        labels: dict[str, str] = next((each.get("Labels", {}) for each in ray.nodes() if each["NodeID"] == node), {})
        self.ip = str(ray.util.get_node_ip_address())
        self.gpus = [str(each) for each in ray.get_gpu_ids()]
        self.head = str(context.gcs_address)
        return {"node": node, "ip": self.ip, "gpus": self.gpus, "labels": labels}

    def start(self, python: str, config: dict[str, Any], within: float, *, several: bool) -> dict[str, Any]:
        """Start the router on this node; return once it listens. Raises RuntimeError with what it said.

        `several`: its engine asks Ray itself for what it has on other nodes.
        """
        clean_up()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-"))
        config["server"] = {"host": self.ip, "port": 0}
        launch = config["backends"][0]["launch"]
        if self.gpus and all(each.isdecimal() for each in self.gpus):
            launch["gpus"] = [int(each) for each in self.gpus]
        elif self.gpus:
            # By UUIDs, which the router's own numbers don't have.
            launch.pop("gpus", None)
            launch["env"] = {**launch.get("env", {}), "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}
        if several:
            # Without it, the engine would find no cluster, and start one of its own on this node.
            launch["env"] = {"RAY_ADDRESS": self.head, **launch.get("env", {})}
        path = self.folder / "router.yaml"
        path.touch(0o600)
        path.write_text(json.dumps(config))
        # The router asks the machine for its GPUs; what Ray says of them to this process stands in `launch`.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA_VISIBLE_", "ROUTER_"))}
        with (self.folder / "said").open("w") as said:
            self.process = subprocess.Popen(
                [python or sys.executable, "-m", "router.cluster.ray_node", str(path)],
                stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=self.folder, env=env,
            )  # fmt: skip
        until = time.monotonic() + within
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ValueError, KeyError):
                return {"url": json.loads((self.folder / "logs" / "router.lock").read_text())["url"]}
            if self.process.poll() is not None:
                raise RuntimeError(self._said() or f"it ended with code {self.process.returncode}")
            time.sleep(0.02)
        self.process.kill()
        raise RuntimeError(f"it doesn't listen after {within:g} s: {self._said()}")

    def wait(self) -> dict[str, Any]:
        """Wait until the router has ended, and tell how."""
        return {"code": self.process.wait(), "said": self._said()}

    def ping(self) -> None:
        """Answer."""

    def stop(self, seconds: float) -> None:
        """Have the router end what it has in flight, and wait until it is gone."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _said(self) -> str:
        if (code := self.process.returncode or 0) < 0:
            return f"killed by signal {-code}"  # what it said before that is no reason
        with contextlib.suppress(OSError):
            return (self.folder / "said").read_text(errors="replace")[-MOST_SAID:].strip()
        return ""


def clean_up() -> None:
    """Remove the folders of node routers whose actors are gone: an actor that is killed can't do it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        try:
            os.kill(int(folder.name.removeprefix(FOLDERS).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            # Another user's, or no folder of this kind.
            continue


class Pipe:
    """Messages to the router, a line each, on what was stdout; whatever else is printed goes to stderr."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def send(self, kind: str, **fields: object) -> None:
        """Tell the router something."""
        with self._lock, contextlib.suppress(OSError):
            self._file.write(json.dumps({"is": kind, **fields}) + "\n")
            self._file.flush()


class Suspects:
    """Nodes that were lost a short time ago, which Ray may still take to be alive."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, node: str, now: float) -> None:
        """Avoid a node for some time."""
        self._until[node] = now + SUSPECT_FOR

    def avoided(self, labels: dict[str, str], now: float) -> dict[str, str]:
        """Give the labels that a node must have, with those that leave out the suspects."""
        nodes = sorted(node for node, until in self._until.items() if until > now)
        return {NODE_ID: f"!in({','.join(nodes)})", **labels} if nodes else labels


class Replica:
    """One node router, from the message that places it until it is gone: a thread of its own waits for it."""

    def __init__(self, ray: Any, said: dict[str, Any], pipe: Pipe, suspects: Suspects) -> None:  # noqa: ANN401 -- no stubs
        self._ray, self._said, self._pipe, self._suspects = ray, said, pipe, suspects
        self.name: str = said["name"]
        self._actor: Any = None
        self._group: Any = None
        self._removed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to be ended."""
        return not self._thread.is_alive()

    def remove(self, seconds: float) -> None:
        """End it: with what it has in flight, at most for so long."""
        self._removed.set()
        threading.Thread(target=self._end, args=(seconds,), daemon=True).start()

    def _end(self, seconds: float) -> None:
        if self._actor is not None and seconds:
            # Whatever Ray raises, it is killed below.
            with contextlib.suppress(Exception):
                self._ray.get(self._actor.stop.remote(seconds), timeout=seconds + 10)
        self.kill()
        self._thread.join(30)
        self._pipe.send("removed", name=self.name)

    def kill(self) -> None:
        """End it now; Ray forgets what it asked for."""
        # Whatever Ray raises: the cluster may be gone, and all with it.
        with contextlib.suppress(Exception):
            if self._group is not None:
                self._ray.util.remove_placement_group(self._group)
        with contextlib.suppress(Exception):
            if self._actor is not None:
                self._ray.kill(self._actor)

    def _run(self) -> None:
        try:
            self._live()
        # Whatever Ray raises, this replica is gone, and the router is told why.
        except Exception as error:  # noqa: BLE001
            if not self._removed.is_set():
                self._pipe.send("gone", name=self.name, why=reason(error), failed=isinstance(error, RuntimeError))
        finally:
            if not self._removed.is_set():  # else `_end` kills it
                self.kill()

    def _live(self) -> None:
        """Place it, start it, wait for its end. Raises whatever ended it."""
        said, asks = self._said, self._said["asks"]
        several = asks["nodes"] > 1
        options = options_of(asks, self._suspects.avoided(asks["labels"], time.monotonic()))
        if several:
            options["scheduling_strategy"] = self._on_first_node(asks)
        actor_class = self._ray.remote(NodeRouter)
        self._actor = actor_class.options(**options).remote()
        if self._removed.is_set():
            self.kill()
            return
        where = self._ray.get(self._actor.place.remote())
        self._pipe.send("placed", name=self.name, **where)
        started = self._actor.start.remote(said["python"], said["config"], said["start_within"], several=several)
        self._pipe.send("up", name=self.name, **where, **self._ray.get(started))
        ended = self._until_gone(where["node"])
        if not self._removed.is_set():
            words = ended["said"].splitlines()[-1:] or [f"code {ended['code']}"]
            self._pipe.send("gone", name=self.name, why=f"its router ended: {words[0]}", failed=False)

    def _on_first_node(self, asks: dict[str, Any]) -> Any:  # noqa: ANN401
        """Wait until there is room on so many nodes; give the strategy that places an actor on the first of them."""
        util = self._ray.util
        self._group = util.placement_group(bundles(asks), strategy="STRICT_SPREAD")
        self._ray.get(self._group.ready())
        nodes = util.placement_group_table(self._group)["bundles_to_node_id"]
        util.remove_placement_group(self._group)
        self._group = None
        return util.scheduling_strategies.NodeAffinitySchedulingStrategy(nodes[0], soft=False)

    def _until_gone(self, node: str) -> dict[str, Any]:
        """Wait for its router's end. Raises when the actor is dead, or can't be reached for AWAY_FOR."""
        unreachable, since = self._ray.exceptions.ActorUnavailableError, 0.0
        while True:
            try:
                if since:
                    self._ray.get(self._actor.ping.remote(), timeout=AWAY_FOR)
                    self._pipe.send("back", name=self.name)
                    since = 0.0
                return dict(self._ray.get(self._actor.wait.remote()))
            except (unreachable, self._ray.exceptions.GetTimeoutError):
                now = time.monotonic()
                if not since:
                    since = now
                    self._pipe.send("away", name=self.name)
                if now - since > AWAY_FOR:
                    self._suspects.add(node, now)
                    raise TimeoutError(f"its node could not be reached for {AWAY_FOR:g} s") from None
                time.sleep(0.1)
            except self._ray.exceptions.RayActorError:
                # Its node may be dead with it, and Ray not know that yet.
                if since:
                    self._suspects.add(node, time.monotonic())
                raise


def options_of(asks: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    """Give the options of an actor. That of an engine over several nodes has no GPUs: the engine asks for them."""
    several = asks["nodes"] > 1
    options = {
        "num_cpus": asks["cpus"],
        "num_gpus": 0 if several else asks["gpus"],
        "resources": asks["resources"],
        "max_concurrency": 8,
        "scheduling_strategy": "SPREAD",
    }
    if asks["memory"]:
        options["memory"] = asks["memory"]
    if labels:
        options["label_selector"] = labels
    return options


def bundles(asks: dict[str, Any]) -> list[dict[str, float]]:
    """Give what an engine over several nodes takes of each: its GPUs in equal parts."""
    each = {"CPU": max(asks["cpus"], 1), "GPU": asks["gpus"] // asks["nodes"], **asks["resources"]}
    return [{name: count for name, count in each.items() if count}] * int(asks["nodes"])


def reason(error: BaseException) -> str:
    """Say in one line why something failed: Ray's errors begin with where they were raised, and end with advice."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    last = lines[-1] if lines else type(cause).__name__
    return (last.partition(". ")[0] if last.startswith("The actor") else last)[:MOST_OF_A_REASON]


def nodes_of(ray: Any) -> list[dict[str, Any]]:  # noqa: ANN401 -- no stubs
    """Tell what each living node has, and what of it is free."""
    free = ray._private.state.available_resources_per_node()  # noqa: SLF001 -- the public one gives sums alone
    return [
        {
            "node": each["NodeID"],
            "ip": each["NodeManagerAddress"],
            "labels": each.get("Labels", {}),
            "total": counted(each["Resources"]),
            "free": counted(free.get(each["NodeID"], {})),
        }
        for each in ray.nodes()
        if each["Alive"]
    ]


def counted(resources: dict[str, float]) -> dict[str, float]:
    """Leave out the resources that are names of nodes."""
    return {name: count for name, count in resources.items() if not name.startswith("node:")}


def follow(ray: Any, pipe: Pipe, ended: threading.Event) -> None:  # noqa: ANN401
    """Tell the router of each change of the cluster's nodes."""
    before: object = None
    while not ended.wait(LOOK_EVERY):
        try:
            now = nodes_of(ray)
        except Exception as error:  # noqa: BLE001 -- its head may come back
            print(reason(error), file=sys.stderr)  # noqa: T201
            continue
        if now != before:
            before = now
            pipe.send("nodes", nodes=now)


def give_up(pipe: Pipe, why: str) -> None:
    """End, as no cluster was found."""
    pipe.send("failed", why=why)
    os._exit(1)


def main(address: str) -> None:
    """Do what stdin says until it ends."""
    pipe = Pipe()
    import ray  # noqa: PLC0415 -- what it prints goes to stderr from here on

    # Ray itself tries for minutes.
    no_answer = f"no cluster answers at {address} within {CONNECTS_WITHIN:g} s"
    late = threading.Timer(CONNECTS_WITHIN, give_up, (pipe, no_answer))
    late.start()
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    # Whatever Ray raises, the router is told it.
    except Exception as error:  # noqa: BLE001
        give_up(pipe, reason(error))
    late.cancel()
    suspects, ended, replicas = Suspects(), threading.Event(), dict[str, Replica]()
    pipe.send("connected", ray=ray.__version__, nodes=nodes_of(ray))
    threading.Thread(target=follow, args=(ray, pipe, ended), daemon=True).start()
    for line in sys.stdin:
        said = json.loads(line)
        if said["do"] == "place":
            replicas = {name: each for name, each in replicas.items() if not each.is_over}
            replicas[said["name"]] = Replica(ray, said, pipe, suspects)
        elif (replica := replicas.pop(said["name"], None)) is not None:
            replica.remove(said["seconds"])
    ended.set()
    # Ray ends what belongs to this program, should it hang from here on.
    threading.Timer(5.0, os._exit, (1,)).start()
    for replica in replicas.values():
        replica.kill()
    ray.shutdown()
    os._exit(0)


if __name__ == "__main__":
    # Without this file's folder: a module in it could be taken for another of the same name.
    sys.path.pop(0)
    main(sys.argv[1])
