"""Files → data that remembers where each part of it was written.

`include` puts router.yaml and its included files together. Of each file, `files` reads the bytes, `places` builds a
`document`, and `syntax` words the parser's complaints. `environment` adds what environment variables say. What the
data means is for `router.config.keys` to check.
"""
