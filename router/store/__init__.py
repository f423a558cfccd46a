"""State that outlives the process: a small SQLite database in the folder `state.dir` of router.yaml.

`store` is what the router uses: asynchronous, and it never raises into its callers. `database` knows the file: whose it
is, of which version, and what to do if it is torn. `footprints` is its one table. The last two block; `store` runs them
in threads.

Losing the database costs nothing but what was learned: models are estimated again, and measured when they load.
"""
