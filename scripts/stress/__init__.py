"""A load generator for servers of language models: what the stress tests are made of.

    command ── options            flags → stages, bounds, exit code
       │
      run ─┬─ load ── shapes ── distribution, prompts      what is asked, and when
           │    └──── client ── wire                       how it is sent, and what its answer says
           ├─ tally                                        what came of each request
           ├─ sampler ── machine, meter                    what a moment looked like; what it cost
           ├─ progress                                     what a person sees while it runs
           └─ verdict ─→ results ─→ report, page ── svg    what it means, and how it is shown

    checks      how a server behaves: of comprehensive_test.py
    calibrate   the generator itself, against an engine of known times (engine)

What decides and counts (distribution, histogram, meter, prompts, shapes, tally, verdict, wire) does no I/O but reading
a file of prompts, and is given time and randomness. All durations are in seconds, sizes in bytes, shares from 0 to 1.
"""
