# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The C++ reconstruction on C-contiguous arrays. `bfm.packed` checks what comes in here."""

from libc.stdint cimport int16_t

cdef extern from "reconstruct.h" namespace "bfm" nogil:
    const size_t C_TILE "bfm::TILE"

    cdef cppclass PackedModel:
        const float *mean
        const int16_t *basis
        size_t vertices
        size_t columns
        size_t shape_columns

    cdef cppclass Gains:
        const float *values
        size_t faces
        size_t rows
        const float *regions

    void c_reconstruct "bfm::reconstruct"(
        const PackedModel &model, const Gains &gains, const float *affines, float *vertices)

TILE = C_TILE


def reconstruct(const float[:, :, ::1] mean, const int16_t[:, :, :, ::1] basis,
                size_t shape_columns, const float[:, ::1] gains, const float[:, ::1] regions,
                const float[:, :, ::1] affines, float[:, :, ::1] vertices):
    """Fill `vertices` (faces, 3, n); no array may be empty, but `regions` of a single row."""
    cdef PackedModel model
    cdef Gains coefficients
    model.mean, model.basis = &mean[0, 0, 0], &basis[0, 0, 0, 0]
    model.vertices, model.columns = vertices.shape[2], basis.shape[1]
    model.shape_columns = shape_columns
    coefficients.values, coefficients.faces = &gains[0, 0], gains.shape[0]
    coefficients.rows = regions.shape[0]
    coefficients.regions = &regions[0, 0] if regions.shape[1] else NULL
    with nogil:
        c_reconstruct(model, coefficients, &affines[0, 0, 0], &vertices[0, 0, 0])
