"""How well the balancing policies do: in a simulation, and on real processes.

    simulation   a simulator of discrete events (python -m scripts.simulate)
    bench        python -m scripts.balance.bench: real routers before real engines, beside the simulator
      ├─ fleet   the processes of one run
      ├─ engine ── real_time    an engine's process, and its model, driven by the clock
      ├─ load    the requests
      └─ figures                the tables
    failures ── failing_engine  python -m scripts.balance.failures: the cost of engines that fail
    process      a process that listens; of fleet and failures

docs/balancing.md has the figures.
"""
