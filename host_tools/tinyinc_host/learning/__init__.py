"""What `make bench-learning` measures: how well TinyInc keeps what it knew while it learns, beside
the published rules and the simple baselines, on real data and under three protocols.

`settings` says which datasets and with which networks; `protocols` turns a dataset into lessons;
`methods` (networks, through the device package) and `baselines` (numpy) learn them; `runs` puts
all of it in order and keeps what is done; `table` tells it.
"""
