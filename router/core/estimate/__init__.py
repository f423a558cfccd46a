"""How soon a backend would begin to answer: what has been measured of it, and what it has been sent, in one sum.

    expected = what is ahead in its queue + the reading of this prompt + what its errors cost

**Reading.** The time that a prompt takes, once it is its turn, is a line over the bytes that must be read:
`base + slope * bytes`. The line is fitted to what was measured, the newest counting most, so a long prompt condemns
nobody. A sample isn't the whole time to the first token but what of it passed since the backend was free for this one:
since it was sent, or since the first token before it, whichever came later. So a queue isn't held against the speed,
and prompts that are read together show the rate at which they come. Of a prompt in the cache only the rest is read;
how much that really is, is measured too, so that a cache that holds nothing is found out. And as such a prompt takes
little more than the base, the base can't be more: where most are cached, a line through the others alone is a guess.

**The queue.** The prompts sent and not yet begun to be answered are read before this one. Where all slots are taken,
the next must wait until an answer ends, every `hold / slots` seconds. How many slots there are is seen: as many as were
at work when one that was overdue could begin only as another ended. What is due has been waited for for some time; once
that is longer than it should take, something is wrong there, and it looks worse with every moment. One that hangs is
thus given no more after the first that finds out.

**Silence.** Most often nobody need find out. Where answers are under way, and none of them has brought anything for
longer than they usually do (`Pauses`), something is wrong there, too: what is expected grows with each moment of it.

**Errors** cost seconds, the more the more of them come in a row, and half as much each `FORGET` seconds later. Failing
fast is never taken for speed: nothing but a first token is a measurement.

**An attempt let go of** before it began, as its client left or another backend was sooner, took at least that long.
Where that is far more than was expected, it costs as an error does. So a backend that hangs doesn't look good again as
soon as the last one has given up on it.

**After a start** caches are cold and code isn't compiled yet, so few prompts may wait there at a time: one, then one
more with each first token. **What was measured long ago** fades: after `STALE` seconds without a first token a backend
is taken for faster than it was, until somebody is sent there and tells.

**An answer that doesn't stream** shows no first token, only its end. Engines begin in order, so it is taken to have
begun when it was due, if it was its turn, and at the latest when one that was sent later has. What it took is a
measurement only where nothing streams.

**What others have there**, who don't come through this router, is only known where the engine publishes its load
(`router.core.load`): what it has beyond ours. Their prompts that wait are read before this one, less the time that has
passed since; and where theirs and ours together fill the slots, the next waits for an end. What was published counts
half as much each `FRESH` seconds. Where nobody else asks anything, nothing of this counts.

Sources: Finagle's and linkerd's Peak-EWMA (latency * outstanding, stale measurements fade, failures cost), Prequal
(NSDI '24: requests in flight tell what latency tells too late), Little's law for `hold`, TCP's slow start.
"""
