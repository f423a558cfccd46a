# What `make run` leaves out of llama.cpp, and optimises less, so that it compiles in two thirds of the time.
# llama.cpp reads this after its own project().

# 1. No example programs and their helpers: llama-cpp-python takes the library alone.
set(LLAMA_BUILD_COMMON OFF)

function(compile_fast)
    # 2. What computes (ggml-cpu) keeps its -O3. What only prepares it, once a token, doesn't need it; what walks over
    #    the vocabulary, for each token, gets a little more. All but the matrices takes 1.7 ms of CPU a token so (152,000
    #    tokens, 24 layers), as with -O3 all over; the matrices of 0.5 B take 80 and more. With sampler and grammar at
    #    -O1 and the rest at -O0 it is 2.1, and a fifth more where a schema binds the answer.
    set(walking llama-sampler.cpp llama-vocab.cpp llama-grammar.cpp)
    target_compile_options(llama PRIVATE -O1)
    list(TRANSFORM walking PREPEND ${PROJECT_SOURCE_DIR}/src/ OUTPUT_VARIABLE paths)
    set_source_files_properties(${paths} TARGET_DIRECTORY llama PROPERTIES COMPILE_OPTIONS -O2
        SKIP_PRECOMPILE_HEADERS ON)   # which fit one level alone
    target_compile_options(ggml-base PRIVATE $<IF:$<COMPILE_LANGUAGE:CXX>,-O1,-O2>)

    # 3. The same headers aren't read by each file again: with unicode.cpp at -O1, this makes 64 s of 71 on two idle
    #    cores (GCC 12); it is 92 s with none of 2 and 3.
    set_target_properties(llama PROPERTIES UNITY_BUILD_BATCH_SIZE 40)   # 16 read them ten times
    target_precompile_headers(llama PRIVATE <algorithm> <array> <cstring> <functional> <map> <memory> <regex> <set>
        <sstream> <string> <unordered_map> <vector>)

    # 4. The longest go first: no core is to wait for the last one.
    set(long unicode.cpp llama-model.cpp ${walking} llama-model-loader.cpp)
    get_target_property(sources llama SOURCES)
    list(REMOVE_ITEM sources ${long})
    set_target_properties(llama PROPERTIES SOURCES "${long};${sources}")
endfunction()
cmake_language(DEFER CALL compile_fast)   # when the targets are there
