"""State that outlives the process: a small SQLite database in the folder `state.dir` of router.yaml.

`store` is what the router uses: asynchronous, and it never raises into its callers. `database` knows the file: whose it
is, of which version, and what to do if it is torn. `footprints` and `machines` are its tables. The last three block;
`store` runs them in threads.

Losing the database costs nothing but what was learned: models are estimated again, and measured when they load; what a
sleeping machine serves is known once it is awake.
"""
