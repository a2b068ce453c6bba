// Dense vertices from a packed 3DMM, in one pass over its bases. Knows nothing of Python.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bfm {

constexpr std::size_t TILE = 64;  // vertices of a tile

// A model cut into tiles of TILE vertices, each with all that belongs to them, so that a pass
// reads memory in order. The last tile is padded.
struct PackedModel {
    const float *mean;          // (tiles, 3, TILE)
    const std::int16_t *basis;  // (tiles, columns, 3, TILE), in units of the column
    std::size_t vertices, columns;
    std::size_t shape_columns;  // the first of them; the others are the expression's
};

// Coefficients times the units of their columns. A face has one row of expression coefficients
// for every region.
struct Gains {
    const float *values;  // (faces, shape_columns + rows · expression columns)
    std::size_t faces, rows;
    const float *regions;  // (rows, vertices): each row's weight; not read where there is one row
};

// For every face: vertices (3, model.vertices) = affine (3, 4) · [mean + basis · gains; 1], then z
// is lowered so that its minimum is 0. The bases are read once, whatever the number of faces.
void reconstruct(const PackedModel &model, const Gains &gains, const float *affines,
                 float *vertices);

}  // namespace bfm
