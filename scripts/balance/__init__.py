"""How well the balancing policies do: in a simulation, and on real processes.

simulation   a simulator of discrete events (python -m scripts.simulate)
bench        python -m scripts.balance.bench: real routers before real processes, beside the simulator
├─ fleet     the processes of one run
├─ engine    an engine's process: serves HTTP; desk is its model, driven by the clock
├─ load      the requests
└─ figures   the tables
failures     python -m scripts.balance.failures: the cost of engines that fail
"""
