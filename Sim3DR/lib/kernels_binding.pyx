# distutils: language = c++
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The C++ kernels on numpy arrays. `Sim3DR.Sim3DR` checks what comes in here.

Vertices (n, 3) may have any strides, pictures (h, w, c) any from row to row; `origin` is the
x, y that counts as the picture's first pixel. No array may be empty.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "kernels.h" namespace "sim3dr" nogil:
    cdef cppclass Mesh:
        const float *vertices
        ptrdiff_t vertex_step
        ptrdiff_t axis_step
        size_t vertex_count
        const int32_t *triangles
        size_t triangle_count
        float left
        float top

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
        ptrdiff_t row_step

    cdef cppclass Raster:
        int32_t *numbers
        float *weights
        float *depths
        int64_t height
        int64_t width

    void c_vertex_normals "sim3dr::vertex_normals"(const Mesh &mesh, float *normals)
    void c_light_vertices "sim3dr::light_vertices"(
        const Mesh &mesh, const Lighting &lighting, size_t channels, float *colors) except +
    void c_rasterize "sim3dr::rasterize"[Pixel](
        Canvas[Pixel] canvas, const Mesh &mesh, const float *colors,
        size_t color_channels) except +
    void c_draw_lit "sim3dr::draw_lit"[Pixel](
        Canvas[Pixel] canvas, const Mesh &mesh, const Lighting &lighting) except +
    void c_sample_bilinear "sim3dr::sample_bilinear"(
        Canvas[const uint8_t] picture, const Mesh &mesh, float *colors)
    void c_rasterise "sim3dr::rasterise"(const Raster &raster, const Mesh &mesh) except +
    void c_interpolate "sim3dr::interpolate"[Pixel](
        Canvas[Pixel] canvas, const Raster &raster, const int32_t *triangles, const float *values)

ctypedef fused pixel:
    uint8_t
    float


cdef Mesh points_of(const float[:, :] vertices, origin=(0, 0)):
    cdef Mesh mesh
    mesh.vertices, mesh.vertex_count = &vertices[0, 0], vertices.shape[0]
    mesh.vertex_step = vertices.strides[0] // <ptrdiff_t>sizeof(float)
    mesh.axis_step = vertices.strides[1] // <ptrdiff_t>sizeof(float)
    mesh.left, mesh.top = origin
    return mesh


cdef Mesh mesh_of(const float[:, :] vertices, const int32_t[:, ::1] triangles, origin=(0, 0)):
    cdef Mesh mesh = points_of(vertices, origin)
    mesh.triangles, mesh.triangle_count = &triangles[0, 0], triangles.shape[0]
    return mesh


cdef Canvas[pixel] canvas_of(pixel[:, :, :] image):
    cdef Canvas[pixel] canvas
    canvas.pixels = &image[0, 0, 0]
    canvas.height, canvas.width, canvas.channels = image.shape[0], image.shape[1], image.shape[2]
    canvas.row_step = image.strides[0] // <ptrdiff_t>sizeof(pixel)
    return canvas


cdef class Light:
    """A `Lighting`: intensities times colours, and positions, three numbers each."""

    cdef Lighting lighting

    def __init__(self, *, ambient, directional, specular, float specular_exponent,
                 light_position, view_position):
        cdef int i
        for i in range(3):
            self.lighting.ambient[i] = ambient[i]
            self.lighting.directional[i] = directional[i]
            self.lighting.specular[i] = specular[i]
            self.lighting.light_position[i] = light_position[i]
            self.lighting.view_position[i] = view_position[i]
        self.lighting.specular_exponent = specular_exponent


def vertex_normals(const float[:, :] vertices, const int32_t[:, ::1] triangles,
                   float[:, ::1] normals):
    """Fill `normals` (n, 3)."""
    cdef Mesh mesh = mesh_of(vertices, triangles)
    with nogil:
        c_vertex_normals(mesh, &normals[0, 0])


def light_vertices(const float[:, :] vertices, const int32_t[:, ::1] triangles, Light light,
                   float[:, ::1] colors):
    """Fill `colors` (n, 1 or 3)."""
    cdef Mesh mesh = mesh_of(vertices, triangles)
    with nogil:
        c_light_vertices(mesh, light.lighting, colors.shape[1], &colors[0, 0])


def rasterize(pixel[:, :, :] image, const float[:, :] vertices, const int32_t[:, ::1] triangles,
              const float[:, ::1] colors, origin):
    """Draw into `image`; colors (n, 1 or c)."""
    cdef Canvas[pixel] canvas = canvas_of(image)
    cdef Mesh mesh = mesh_of(vertices, triangles, origin)
    with nogil:
        c_rasterize(canvas, mesh, &colors[0, 0], colors.shape[1])


def draw_lit(pixel[:, :, :] image, const float[:, :] vertices, const int32_t[:, ::1] triangles,
             Light light, origin):
    """Draw into `image` (h, w, 3)."""
    cdef Canvas[pixel] canvas = canvas_of(image)
    cdef Mesh mesh = mesh_of(vertices, triangles, origin)
    with nogil:
        c_draw_lit(canvas, mesh, light.lighting)


def sample_bilinear(const uint8_t[:, :, :] image, const float[:, :] vertices,
                    float[:, ::1] colors):
    """Fill `colors` (n, c)."""
    cdef Canvas[const uint8_t] picture
    picture.pixels = &image[0, 0, 0]
    picture.height, picture.width, picture.channels = image.shape[0], image.shape[1], image.shape[2]
    picture.row_step = image.strides[0]
    cdef Mesh points = points_of(vertices)
    with nogil:
        c_sample_bilinear(picture, points, &colors[0, 0])


cdef Raster raster_of(int32_t[:, ::1] numbers, float[:, :, ::1] weights, float[:, ::1] depths):
    cdef Raster raster
    raster.numbers, raster.weights = &numbers[0, 0], &weights[0, 0, 0]
    raster.depths = &depths[0, 0]
    raster.height, raster.width = numbers.shape[0], numbers.shape[1]
    return raster


def rasterise(int32_t[:, ::1] numbers, float[:, :, ::1] weights, float[:, ::1] depths,
              const float[:, :] vertices, const int32_t[:, ::1] triangles, origin):
    """Fill numbers and depths (h, w) and weights (h, w, 3) where there are triangles."""
    cdef Raster raster = raster_of(numbers, weights, depths)
    cdef Mesh mesh = mesh_of(vertices, triangles, origin)
    with nogil:
        c_rasterise(raster, mesh)


def interpolate(pixel[:, :, :] image, int32_t[:, ::1] numbers, float[:, :, ::1] weights,
                float[:, ::1] depths, const int32_t[:, ::1] triangles, const float[:, ::1] values):
    """Draw values (n, c) into `image` (h, w, c) where numbers (h, w) are not negative."""
    cdef Canvas[pixel] canvas = canvas_of(image)
    cdef Raster raster = raster_of(numbers, weights, depths)
    with nogil:
        c_interpolate(canvas, raster, &triangles[0, 0], &values[0, 0])
