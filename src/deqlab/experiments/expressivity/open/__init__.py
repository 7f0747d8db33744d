"""Open problems, as experiments: train a DEQ on a hard function, and beat every FNN of equal cost.

`competition` says who competes, `jobs` how they train and what rows they leave, `losses` and
`open_report` who wins: both experiments share these. `open_sawtooth` and `open_steep` are the
experiments; `sawtooth_routes` and `steep_routes` are their configs, with data and routes. How
networks are trained is in `deqlab.expressivity.search`.
"""
