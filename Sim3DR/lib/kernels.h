// Mesh kernels on plain arrays: they allocate only scratch space, know nothing of
// Python, and are safe for any float values. Triangle indices must be in range;
// the Python layer checks that.
//
// vertices: (n, 3) x, y, z; pixels, x right, y down, pixel centres at integers; larger z
// is nearer. triangles: (m, 3). All arrays are C-contiguous.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sim3dr {

// Light of a RenderPipeline; positions are in the normalised frame of light_vertices.
struct Lighting {
    float ambient[3];      // intensity times colour
    float directional[3];  // intensity times colour
    float specular[3];     // intensity times colour
    float specular_exponent;
    float light_position[3];
    float view_position[3];
};

// normals (n, 3): unit sums of the adjacent triangles' cross products, zero for a
// vertex without any.
void vertex_normals(const float *vertices, std::size_t vertex_count, const std::int32_t *triangles,
                    std::size_t triangle_count, float *normals);

// colors (n, 3) in [0, 1]: Phong light of every vertex.
void light_vertices(const float *vertices, const float *normals, std::size_t vertex_count,
                    const Lighting &lighting, float *colors);

// An image to draw into: pixels (height, width, channels).
template <typename Pixel>
struct Canvas {
    Pixel *pixels;
    std::int64_t height, width, channels;
    bool bottom_up;  // store row 0 last
};

// Draw triangles with a depth buffer of their own, colours (n, channels) interpolated.
// A uint8 canvas takes colours in [0, 1] and clamps; a float canvas takes them as they are.
template <typename Pixel>
void rasterize(Canvas<Pixel> canvas, const float *vertices, std::size_t vertex_count,
               const std::int32_t *triangles, std::size_t triangle_count, const float *colors);

}  // namespace sim3dr
