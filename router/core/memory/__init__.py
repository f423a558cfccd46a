"""Models that load and unload by themselves: what is in memory, what leaves, who waits. Pure.

`Residency` is the one writer and the only class that callers need. Events go in with the time (a request wants a
backend, an engine is loaded, a device tells its free bytes); actions come out (load, unload, offer, refuse) for the
caller to do. The router, the simulator and the tests drive the same object.

Requests stay in the caller's queue. `Residency` knows of those that wait for a backend (`wanted`), and of every attempt
that is under way (`sent`, `ended`). It sends nothing: it tells which backends may be sent requests (`Offer`, `may_go`).

  `devices`     reservations on each device, and what other programs hold
  `footprints`  how much a model takes there: told, learned, estimated, raised after a death for lack of memory
  `states`      the states of a backend, as a table
  `wanting`     the chance that an idle backend is wanted again
  `eviction`    the set of backends whose eviction costs least
  `rounds`      who waits for memory, in which order, and where each gets it from
  `order`       fairness between keys, across models
  `resident`    the record of one backend
  `lives`       the moves of a backend, each whole
  `telling`     what a request that waits is told

What must stay true:

1. Reservations on a device never exceed what our engines may hold there, except where an engine took more than was
   reserved: then nothing loads until idle engines have left.
2. A reservation ends after the process has exited and the device has confirmed its memory as free.
3. A backend is told to end only when it is idle: nothing in flight, and no lease left of those who caused its load.
   So no answer is cut and no model is evicted before its own first request. A lease lapses if nobody uses it.
4. A pinned backend leaves only when a person says so.
5. A backend has one load at a time, however many ask.
6. Nobody is overtaken after `max_wait`. How long an answer runs that is in the way is not ours to bound.
7. What can never fit is refused at once, with the figures.
"""
