// Mesh kernels on plain arrays: they allocate only scratch space, know nothing of
// Python, and are safe for any float values. Triangle indices must be in range;
// the Python layer checks that. Arrays are C-contiguous unless they come with steps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sim3dr {

// Vertices x, y, z in pixels, x right, y down, pixel centres at integers, larger z nearer,
// and triangles (m, 3) of their numbers.
struct Mesh {
    const float *vertices;
    std::ptrdiff_t vertex_step, axis_step;  // to the next vertex and axis, in floats
    std::size_t vertex_count;
    const std::int32_t *triangles;
    std::size_t triangle_count;
    float left, top;  // the place that counts as x = y = 0
};

// Light of a RenderPipeline; positions are in the normalised frame of light_vertices.
struct Lighting {
    float ambient[3];      // intensity times colour
    float directional[3];  // intensity times colour
    float specular[3];     // intensity times colour
    float specular_exponent;
    float light_position[3];
    float view_position[3];
};

// An image to draw into: rows of (width, channels) pixels.
template <typename Pixel>
struct Canvas {
    Pixel *pixels;
    std::int64_t height, width, channels;
    std::ptrdiff_t row_step;  // to the next row, in numbers; negative: bottom up
};

// normals (n, 3): unit sums of the adjacent triangles' cross products, zero for a
// vertex without any.
void vertex_normals(const Mesh &mesh, float *normals);

// colors (n, channels) in [0, 1]: Phong light of every vertex, its first 1 or 3 channels.
void light_vertices(const Mesh &mesh, const Lighting &lighting, std::size_t channels,
                    float *colors);

// Draw triangles with a depth buffer of their own, colours (n, color_channels) interpolated;
// color_channels are the canvas' or 1, for all of them alike. A uint8 canvas takes colours in
// [0, 1] and clamps; a float canvas takes them as they are.
template <typename Pixel>
void rasterize(Canvas<Pixel> canvas, const Mesh &mesh, const float *colors,
               std::size_t color_channels);

// light_vertices and rasterize in one, for a canvas of three channels.
template <typename Pixel>
void draw_lit(Canvas<Pixel> canvas, const Mesh &mesh, const Lighting &lighting);

// colors (n, channels): the picture at x, y of the vertices, between pixels bilinear, clamped
// to its border, divided by 255.
void sample_bilinear(Canvas<const std::uint8_t> picture, const Mesh &mesh, float *colors);

// The triangle that is seen in each pixel of a picture. Arrays (height, width): numbers; weights
// of its corners, three each; z.
struct Raster {
    std::int32_t *numbers;  // negative: none
    float *weights, *depths;
    std::int64_t height, width;
};

// Fill in the pixels that show a triangle, with a depth buffer of their own.
void rasterise(const Raster &raster, const Mesh &mesh);

// Draw values (n, canvas.channels) of the corners of `triangles` where the raster shows any, as
// `rasterize` draws colours.
template <typename Pixel>
void interpolate(Canvas<Pixel> canvas, const Raster &raster, const std::int32_t *triangles,
                 const float *values);

}  // namespace sim3dr
