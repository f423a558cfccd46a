"""How much memory a model will take, before its first load, and how much it takes once it runs.

1. A model's files say what it is: `gguf` and `safetensors` read their headers within bounds, `model` makes one `Model`
   of either; `files` opens them. No tensor is read.
2. `estimate` tells from a `Model`, an engine and its arguments what each device will hold: a `Breakdown`.
3. While it loads, an engine says what it allocates: `lines` reads that, and corrects the estimate.
4. Once it runs, `resident` measures what its processes take.

`share` is apart: what part of a GPU vllm can use for a model. So is `fitting`: the arguments with which a model fits
that is too large as it is configured.

Only `files` and `resident` read anything; the rest is pure.
"""
