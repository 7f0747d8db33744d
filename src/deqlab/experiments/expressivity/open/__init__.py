"""An open problem, as an experiment: train a DEQ on a sawtooth, and beat every FNN of equal cost.

`wiring` says which weights a network has and what a step costs, `substitution` evaluates it,
`levenberg` fits it; `starts`, `growth` and `monotone` are routes to a trained network; `modules`
makes deqlab's modules of it and tests those; `config`, `verdict`, `page` and `sawtooth` make the
experiment.
"""
