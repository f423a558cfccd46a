"""Brings models from a hub of Hugging Face's kind into its cache on this disk, where every engine finds them.

names       what a person writes: ORG/NAME:QUANT (pure)
listing     what a repository has, as the hub says (pure)
choosing    which of its files an engine needs (pure)
redirects   where the hub may send us on to (pure)
asking      asks the hub, and says what is wrong in one sentence
cache       where files lie, what is there already, whether there is room
fetching    one file: goes on where it was cut, and is kept only with the right checksum

huggingface_hub, which has the same cache, isn't used for this: it throws away what it has of a file when it fails,
checks no checksums, goes wherever a redirect leads, and brings a dozen packages along. Tests compare with it.
"""
