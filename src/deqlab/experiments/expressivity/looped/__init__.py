"""Is an advantage of DEQs one of truncated loops? Loops, DEQs and FNNs on a sawtooth.

`sawtooth_loops` is the experiment, `networks` its arms, `trials` how they train, `side_by_side` how
networks of one shape do so at once, `scores` how they are tested, as trained and as solved,
`standing` who is ahead, and `sawtooth_loops_report` the verdict in words.
"""
