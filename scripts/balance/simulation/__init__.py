"""A simulator of discrete events: the router's own policies before engines that are models. Pure, and repeatable.

    scenarios   what is simulated: engines, their faults, the traffic
    traffic     jobs (requests, with what they will turn out to need) and when they arrive
    engine      an engine: its queue, its steps, its cache of prefixes (`cache`)
    readers     another kind of engine, which reads prompts side by side
    routing     a router: the real policies, estimates and health, and retries, before simulated engines
    choosing    policies to measure against: all to the longest prefix, and the oracle
    world       the clock: what happens when, faults and probes too
    figures     what came of it, and the tables

Each policy of a scenario meets the same jobs at the same moments, so that figures may be compared.

Left out, and so not to be learned here: the network's time, the router's own, the cost of long contexts (attention is
taken to be linear), the memory of what runs (a slot is always enough), admission (a router's queue is unbounded), and
the budget of retries (each is allowed).
"""
