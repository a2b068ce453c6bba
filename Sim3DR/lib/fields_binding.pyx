# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The C++ field kernels on C-contiguous arrays. `Sim3DR.fields` checks what comes in here."""

from libc.stdint cimport int64_t, uint8_t

cdef extern from "fields.h" namespace "sim3dr" nogil:
    void c_sample_lanczos "sim3dr::sample_lanczos"(
        const float *picture, int64_t height, int64_t width, const float *places, int64_t count,
        float *out)
    void c_sample_moved "sim3dr::sample_moved"(
        const float *picture, int64_t height, int64_t width, const float *moves, int64_t rows,
        int64_t columns, int64_t left, int64_t top, float *out) except +
    void c_extend "sim3dr::extend"(
        float *values, const uint8_t *known, int64_t channels, int64_t height,
        int64_t width) except +


def sample_lanczos(const float[:, :, ::1] picture, const float[:, ::1] places, float[:, ::1] out):
    """Fill `out` (count, 4); picture (h, w, 4), places (count, 2); no array may be empty."""
    with nogil:
        c_sample_lanczos(&picture[0, 0, 0], picture.shape[0], picture.shape[1], &places[0, 0],
                         places.shape[0], &out[0, 0])


def sample_moved(const float[:, :, ::1] picture, const float[:, :, ::1] moves, int64_t left,
                 int64_t top, float[:, :, ::1] out):
    """Fill `out` (rows, columns, 4); picture (h, w, 4), moves (rows, columns, 2); none empty."""
    with nogil:
        c_sample_moved(&picture[0, 0, 0], picture.shape[0], picture.shape[1], &moves[0, 0, 0],
                       moves.shape[0], moves.shape[1], left, top, &out[0, 0, 0])


def extend(float[:, :, ::1] values, const uint8_t[:, ::1] known):
    """Fill `values` (channels, h, w) where `known` (h, w) is 0; no array may be empty."""
    with nogil:
        c_extend(&values[0, 0, 0], &known[0, 0], values.shape[0], values.shape[1], values.shape[2])
