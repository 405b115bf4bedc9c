"""Memory tasks: what of the frames it watched can a world model show again, and how long after?

A task (`task.MemoryTask`) holds real frames to watch, poses or actions to imagine under, and what
should then be seen; `retrieval`, `reasoning` and `revisit` make one from recorded rollouts.
`scores.score_memory` lets a model do it and compares frame by frame.
"""
