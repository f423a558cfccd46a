# llama.cpp's server library, without the example programs and their helpers: minutes less to compile.
set(LLAMA_BUILD_COMMON OFF)
