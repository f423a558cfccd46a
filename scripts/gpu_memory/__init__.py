"""Two models on one real GPU of which one fits: evictions, footprints, and a load that runs out of memory.

    python -m scripts.gpu_memory swap  --engine vllm
    python -m scripts.gpu_memory short --engine llama_server
    python -m scripts.gpu_memory taken

`swap` asks for A, B and A again, with a limit that leaves room for one of them. It tells what NVML, nvidia-smi and the
router say of each, and checks by samples that one's memory is free before the other's process starts. `short` has
another program take the GPU's memory so that B's load fails for lack of it: A must leave, and B is loaded once more.
`taken` has it take the memory just before B is asked for: A must leave before B is started.

It needs an NVIDIA GPU, and vllm or a llama-server that was built for CUDA. It exits with 1 if anything is not as it
should be.
"""
