# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The C++ kernels on C-contiguous arrays. `Sim3DR.Sim3DR` checks what comes in here."""

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "kernels.h" namespace "sim3dr" nogil:
    cdef cppclass Lighting:
        float ambient[3]
        float directional[3]
        float specular[3]
        float specular_exponent
        float light_position[3]
        float view_position[3]

    cdef cppclass Canvas[Pixel]:
        Pixel *pixels
        int64_t height
        int64_t width
        int64_t channels
        bint bottom_up

    void c_vertex_normals "sim3dr::vertex_normals"(
        const float *vertices, size_t vertex_count, const int32_t *triangles,
        size_t triangle_count, float *normals)
    void c_light_vertices "sim3dr::light_vertices"(
        const float *vertices, const float *normals, size_t vertex_count,
        const Lighting &lighting, float *colors)
    void c_rasterize "sim3dr::rasterize"[Pixel](
        Canvas[Pixel] canvas, const float *vertices, size_t vertex_count,
        const int32_t *triangles, size_t triangle_count, const float *colors) except +

ctypedef fused pixel:
    uint8_t
    float


def vertex_normals(const float[:, ::1] vertices, const int32_t[:, ::1] triangles,
                   float[:, ::1] normals):
    """Fill `normals` (n, 3); n and the number of triangles must not be 0."""
    with nogil:
        c_vertex_normals(&vertices[0, 0], vertices.shape[0], &triangles[0, 0],
                         triangles.shape[0], &normals[0, 0])


def light_vertices(const float[:, ::1] vertices, const float[:, ::1] normals,
                   float[:, ::1] colors, *, ambient, directional, specular,
                   float specular_exponent, light_position, view_position):
    """Fill `colors` (n, 3), n > 0; the keyword arguments are a `Lighting`."""
    cdef Lighting lighting
    cdef int i
    for i in range(3):
        lighting.ambient[i] = ambient[i]
        lighting.directional[i] = directional[i]
        lighting.specular[i] = specular[i]
        lighting.light_position[i] = light_position[i]
        lighting.view_position[i] = view_position[i]
    lighting.specular_exponent = specular_exponent
    with nogil:
        c_light_vertices(&vertices[0, 0], &normals[0, 0], vertices.shape[0], lighting,
                         &colors[0, 0])


def rasterize(pixel[:, :, ::1] image, const float[:, ::1] vertices,
              const int32_t[:, ::1] triangles, const float[:, ::1] colors, bint bottom_up):
    """Draw into `image` (h, w, c); no array may be empty."""
    cdef Canvas[pixel] canvas
    canvas.pixels = &image[0, 0, 0]
    canvas.height, canvas.width, canvas.channels = image.shape[0], image.shape[1], image.shape[2]
    canvas.bottom_up = bottom_up
    with nogil:
        c_rasterize(canvas, &vertices[0, 0], vertices.shape[0], &triangles[0, 0],
                    triangles.shape[0], &colors[0, 0])
