#include "reconstruct.h"

#include <algorithm>

// One binary for every x86-64 Linux: the loader picks the clone for the processor it finds.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CLONES
#endif

namespace bfm {
namespace {

// A tile before the pose: sums (3, TILE).
inline void deform(const float *mean, const std::int16_t *basis, const float *gains,
                   std::size_t columns, float *sums) {
    std::copy(mean, mean + 3 * TILE, sums);
    for (std::size_t k = 0; k < columns; ++k)
        for (std::size_t i = 0; i < 3 * TILE; ++i)
            sums[i] += gains[k] * static_cast<float>(basis[k * 3 * TILE + i]);
}

// The first `count` vertices of a tile, posed, into a column of (3, stride).
inline void pose(const float *sums, const float *affine, std::size_t count, std::size_t stride,
                 float *out) {
    for (std::size_t axis = 0; axis < 3; ++axis) {
        const float *row = affine + 4 * axis;
        for (std::size_t i = 0; i < count; ++i)
            out[axis * stride + i] = row[0] * sums[i] + row[1] * sums[TILE + i] +
                                     row[2] * sums[2 * TILE + i] + row[3];
    }
}

inline void lower_to_zero(float *z, std::size_t count) {
    float lowest = z[0];
    for (std::size_t i = 1; i < count; ++i) lowest = std::min(lowest, z[i]);
    for (std::size_t i = 0; i < count; ++i) z[i] -= lowest;
}

}  // namespace

CLONES void reconstruct(const PackedModel &model, std::size_t faces, const float *gains,
                        const float *affines, float *vertices) {
    const std::size_t n = model.vertices, columns = model.columns;
    float sums[3 * TILE];
    for (std::size_t first = 0; first < n; first += TILE) {
        const float *mean = model.mean + 3 * first;
        const std::int16_t *basis = model.basis + columns * 3 * first;
        for (std::size_t face = 0; face < faces; ++face) {
            deform(mean, basis, gains + face * columns, columns, sums);
            pose(sums, affines + face * 12, std::min(TILE, n - first), n,
                 vertices + face * 3 * n + first);
        }
    }
    for (std::size_t face = 0; face < faces; ++face)
        lower_to_zero(vertices + (face * 3 + 2) * n, n);
}

}  // namespace bfm
