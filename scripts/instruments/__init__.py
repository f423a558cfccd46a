"""The measuring instruments that bench, balance and stress share.

processes   the processes of a benchmark: where they run, their CPU time and their memory
    engine      the HTTP side of all engines that are measured against
    statistics  percentiles, exact ones and those of a histogram
"""
