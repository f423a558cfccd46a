"""The measuring instruments that bench, balance and stress share.

    client      the load client: a target, a connection to it, a pool of these
    answers     an answer as its bytes come, with the times of its tokens
    engine      the HTTP side of all engines that are measured against
    statistics  percentiles, exact ones and those of a histogram
    processes   the processes of a benchmark: where they run, their CPU time and their memory

All times are in seconds on `time.perf_counter`, unless a name says otherwise.
"""
