"""How soon a backend would send the first token of a request: the expected TTFT, in seconds, as one sum.

    expected = queue + reading of this prompt + penalty for errors

**Reading.** The time to read a prompt is modelled as a line over the bytes to be read: `base + slope * bytes`. The line
is fitted to measurements; the newest count most, so one long prompt does no lasting harm. A sample is not the whole
TTFT. It is the time since the backend was free for this prompt: since the prompt was sent, or since the previous first
token, whichever is later. So time in the queue doesn't count as slow reading, and prompts that are read together show
the rate at which they come. Of a cached prompt only the rest is read. How much that really is is measured, too, so a
cache that holds nothing is noticed. A cached prompt takes little more than the base, so it is an upper bound of the
base: where most prompts are cached, a line through the others alone would be a guess.

**Readers.** Some engines read one prompt after the other, or all together in batches, which comes to the same. Others
read several side by side, each as fast as if it were alone. There a prompt waits only if all readers are busy, and what
is read at the moment will not be cached before this prompt is read, too. The order of first tokens shows how many
readers there are: a prompt that overtakes another was read at the same time (`Readers`).

**Queue.** Prompts that were sent and haven't begun to be answered are read before this one. If all slots are taken, the
next request begins when an answer ends, which happens every `hold / slots` seconds. The number of slots is inferred: it
is how many requests were at work when an overdue one began only as another ended. The time that has been waited
already is subtracted. Once a wait is longer than expected, something is wrong there, and the expected time grows with
every moment. So a backend that hangs gets no further requests after the first one that shows it. Where caches have held
less than was believed of late, a prompt that was expected to be cached is perhaps read whole instead, and isn't late
before it could have been (`Reading.doubt`).

**Silence.** Often not even one request need find out. If answers are under way and none has brought anything for
longer than usual (`Pauses`), the expected time grows with every moment, too.

**Errors** add a penalty in seconds, which grows with errors in a row and halves every `FORGET` seconds. A fast failure
is never taken for speed: only a first token is a measurement.

**Abandoned attempts.** An attempt that was ended before its first token, because its client left or another backend was
sooner, took at least that long. If that is far more than expected, it counts like an error. So a backend that hangs
doesn't look good again once its last client has given up.

**After a start** caches are cold and code isn't compiled yet. So few prompts may wait there at a time: one, then one
more with each first token. **Old measurements** fade: after `STALE` seconds without a first token a backend is expected
to be faster than measured, until a request is sent there and shows its speed.

**Loads elsewhere.** A peer's model may have yet to be loaded there (`Estimate.loads`). What is sent waits for that, and
none of it is late meanwhile; the first measurements begin when it is loaded, as after a start.

**Answers that don't stream** show no first token, only their end. Engines begin requests in order. So such an answer is
assumed to have begun when it was due, if it was its turn, and at the latest when a request that was sent later has
begun. Its time is a measurement only where nothing streams.

**Requests of others**, which don't come through this router, are known only if the engine publishes its load
(`router.core.load`): all it has, less ours. Their waiting prompts are read before this one, less the time that has
passed since. If theirs and ours together fill the slots, the next request waits for an answer to end. A published
figure counts half as much every `FRESH` seconds. Without others, none of this counts.

Sources: Peak-EWMA of Finagle and linkerd (latency * outstanding, stale measurements fade, failures cost), Prequal
(NSDI '24: requests in flight show early what latency shows too late), Little's law for `hold`, TCP's slow start.
"""
