// CLONES("default", ...): compiles a function once for each kind of processor; the loader picks the
// one that suits when the library is loaded. That takes gcc and glibc; elsewhere, and under
// AddressSanitizer, which starts later than the loader picks, there is the default alone.
// A clone with fused multiply-add (avx512f) rounds less often: its results can differ from those of
// other processors in the last bit.
#pragma once

#include <cstddef>  // brings __GLIBC__ along

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__)
#define CLONES(...) __attribute__((target_clones(__VA_ARGS__), flatten))
#else
#define CLONES(...)
#endif
