"""Open problems, as experiments: train a DEQ on a hard function, and beat every FNN of equal cost.

`wiring` says which weights a network has and what a step costs, `substitution` evaluates it,
`levenberg` fits it; `starts`, `growth`, `steepening` and `monotone` make routes to a trained
network, of which a `route` is one in stages; `modules` makes deqlab's modules of it and tests
those; `competition` says who competes, `entrants` what rows they leave, `verdict` who wins, `page`
what is shown. `config`, `routes` and `sawtooth` are the experiment on sawtooths; `steep_config`,
`steep_routes`, `steep_norms` and `steep` are that on ramps.
"""
