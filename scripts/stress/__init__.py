"""A load generator for servers of language models: what the stress tests are made of.

    command ── options            flags → stages, bounds, exit code
       │
      run ─┬─ load ── shapes ── distribution, prompts      what is asked, and when
           │    └──── answer                               what an answer says, beside the instruments' client
           ├─ tally                                        what came of each request
           ├─ sampler ── machine, meter                    what a moment looked like, and what it cost
           ├─ progress                                     what a person sees while it runs
           └─ verdict ─→ results ─→ report, page ── svg    what it means, and how it is shown

    checks      how a server behaves: of comprehensive_test.py
    calibrate   the generator itself, against an engine of known times (engine)

The modules that decide and count (answer, distribution, meter, prompts, shapes, tally, verdict) do no I/O but to read a
file of prompts; time and randomness are arguments. All durations are in seconds, sizes in bytes, shares from 0 to 1.
"""
