"""Is a dream worth living in? Measures by the imagined step, over a whole episode.

`lives`: do frames stay sharp, moving and like real ones? `turns` and `revisits`: does the dream
keep its world, and which memory does that? `pays`: do agents earn what they earn in reality?
`measure` puts them together; `docs/life.md` explains each.
"""
