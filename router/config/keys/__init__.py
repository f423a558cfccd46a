"""Every key of router.yaml with its meaning, its bounds and its default: one file a section.

`config` puts the sections together. `values`, `groups` and `units` are the kinds of values, `section` is what all
sections share, `rules` is what must hold between entries. All types are frozen and compared by value: durations are
seconds, sizes are bytes, lists are tuples, mappings are read-only and keep the file's order.

Nothing here reads a file: `Config.model_validate` takes plain data.
"""
