# What `make run` leaves out of llama.cpp, and optimises less, so that it compiles in two thirds of the time.
# llama.cpp reads this after its own project().

# 1. No example programs and their helpers: llama-cpp-python takes the library alone.
set(LLAMA_BUILD_COMMON OFF)

# 2. What computes (ggml-cpu) keeps its -O3. What only prepares it, once a token, doesn't need it; what walks over the
#    vocabulary or a text, for each token, gets a little more.
function(compile_fast)
    target_compile_options(llama PRIVATE -O1)
    set_target_properties(llama PROPERTIES UNITY_BUILD_BATCH_SIZE 40)   # 16 read the same headers ten times
    target_compile_options(ggml-base PRIVATE -O2)
    foreach(name grammar sampler vocab)
        list(APPEND walking ${PROJECT_SOURCE_DIR}/src/llama-${name}.cpp)
    endforeach()
    set_source_files_properties(${walking} ${PROJECT_SOURCE_DIR}/src/unicode.cpp
        TARGET_DIRECTORY llama PROPERTIES COMPILE_OPTIONS -O2)
endfunction()
cmake_language(DEFER CALL compile_fast)   # when the targets are there
