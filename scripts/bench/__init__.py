"""The benchmark of proxies: CPU time, latency and memory of the router beside others.

    __main__   python -m scripts.bench: measures each proxy in turns
       │
     cases ─┬─ load         a closed loop of clients
            ├─ open_loop    requests by a schedule
            ├─ crowd        ten thousand connections
            ├─ engine       the backend that proxies are measured against
            └─ proxies      which proxies there are, and how each is started
       │
    results ── report       the figures as data, and the tables in docs/performance.md

    pick       python -m scripts.bench.pick: the cost of one choice among backends
    reload     python -m scripts.bench.reload: the cost of a reload of a large router.yaml
    followers  python -m scripts.bench.followers: the cost of followers of events and logs, and of `top`
       └─ following    the processes that follow, and the engine that writes what they follow

docs/performance.md has the figures.
"""
