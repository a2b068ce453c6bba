#include "reconstruct.h"

#include <algorithm>

#include "Sim3DR/lib/clones.h"

namespace bfm {
namespace {

// Some columns of a tile's basis, times their gains, added to sums (3, TILE).
inline void add_columns(const std::int16_t *basis, const float *gains, std::size_t columns,
                        float *sums) {
    for (std::size_t k = 0; k < columns; ++k)
        for (std::size_t i = 0; i < 3 * TILE; ++i)
            sums[i] += gains[k] * static_cast<float>(basis[k * 3 * TILE + i]);
}

// The expression of the first `count` vertices of a tile, each row weighted by its region (from
// the tile's first vertex on, rows `stride` apart), added to sums (3, TILE).
inline void add_regions(const std::int16_t *basis, const float *gains, std::size_t columns,
                        std::size_t rows, const float *regions, std::size_t stride,
                        std::size_t count, float *sums) {
    for (std::size_t row = 0; row < rows; ++row) {
        float moved[3 * TILE] = {};
        add_columns(basis, gains + row * columns, columns, moved);
        const float *weights = regions + row * stride;
        for (std::size_t axis = 0; axis < 3; ++axis)
            for (std::size_t i = 0; i < count; ++i)
                sums[axis * TILE + i] += weights[i] * moved[axis * TILE + i];
    }
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

CLONES("default", "avx2", "avx512f")
void reconstruct(const PackedModel &model, const Gains &gains, const float *affines,
                        float *vertices) {
    const std::size_t n = model.vertices, shapes = model.shape_columns;
    const std::size_t expressions = model.columns - shapes;
    const std::size_t of_a_face = shapes + gains.rows * expressions;
    float sums[3 * TILE];
    for (std::size_t first = 0; first < n; first += TILE) {
        const std::size_t count = std::min(TILE, n - first);
        const float *mean = model.mean + 3 * first;
        const std::int16_t *basis = model.basis + model.columns * 3 * first;
        for (std::size_t face = 0; face < gains.faces; ++face) {
            const float *values = gains.values + face * of_a_face;
            std::copy(mean, mean + 3 * TILE, sums);
            if (gains.rows == 1) {
                add_columns(basis, values, model.columns, sums);
            } else {
                add_columns(basis, values, shapes, sums);
                add_regions(basis + shapes * 3 * TILE, values + shapes, expressions, gains.rows,
                            gains.regions + first, n, count, sums);
            }
            pose(sums, affines + face * 12, count, n, vertices + face * 3 * n + first);
        }
    }
    for (std::size_t face = 0; face < gains.faces; ++face)
        lower_to_zero(vertices + (face * 3 + 2) * n, n);
}

}  // namespace bfm
