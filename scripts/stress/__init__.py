"""A load generator for servers of language models: what the stress tests are made of.

    options ─→ plan ─→ run ─┬─ load ── shapes, arrivals     what is asked, and when
                            │    └──── client ── wire       how it is sent, and what its answer says
                            ├─ tally ── histogram           what came of each request
                            ├─ sampler ── machine           what a second looked like; what it cost
                            └─ progress; results ─→ report, svg, page

What decides and counts (arrivals, distribution, histogram, prompts, shapes, tally, verdict, wire) does no I/O, and is
given time and randomness. All durations are in seconds, all sizes in bytes, all shares from 0 to 1.
"""
