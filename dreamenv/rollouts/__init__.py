"""Rollouts: recording episodes of an environment, storing them losslessly, reading windows.

A store is a folder:

    episodes.jsonl               line 0: environment, spaces; then one line per committed episode:
                                 its first row, steps, seed (null if unknown), policy, return, bytes
                                 per field, where it was taken from if it was not recorded here, and
                                 the seeds that failed since the episode before, if there were any
    observation/                 Zarr v3 arrays, rows concatenated over time; an episode of T steps
    action/ reward/              begins at its `start` row and takes T+1 rows of observation and
    terminated/ truncated/       info, T rows of the others
    info/KEY/                    optional numeric infos

Rows that no line of episodes.jsonl names hold nothing. Lines carry a checksum of themselves and the
digests of the episode's files, which are compared when a file is first read; stores of earlier
versions have none and are read all the same.
"""
