#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace sim3dr {
namespace {

struct Vec3 {
    float x, y, z;
};

Vec3 load(const float *p) { return {p[0], p[1], p[2]}; }

Vec3 operator-(Vec3 a, Vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec3 operator*(float s, Vec3 a) { return {s * a.x, s * a.y, s * a.z}; }
float dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec3 cross(Vec3 a, Vec3 b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
bool finite(Vec3 a) { return std::isfinite(a.x) && std::isfinite(a.y) && std::isfinite(a.z); }

// Unit vector; a zero or non-finite one becomes zero.
Vec3 unit(Vec3 a) {
    const float squared = dot(a, a);
    if (!(squared > 0) || !std::isfinite(squared)) return {0, 0, 0};
    return 1 / std::sqrt(squared) * a;
}

float clamp01(float value) { return value > 0 ? std::min(value, 1.0f) : 0.0f; }

// value^exponent; small whole exponents, which everybody uses, without pow().
float power(float value, float exponent) {
    const int whole = exponent >= 0 && exponent <= 64 ? static_cast<int>(exponent) : -1;
    if (static_cast<float>(whole) != exponent) return std::pow(value, exponent);
    float result = 1;
    for (int i = 0; i < whole; ++i) result *= value;
    return result;
}

// The map of finite vertices into a box of size 2 around the origin: v -> scale·v - shift.
struct Normalisation {
    float scale;
    Vec3 shift;
};

// Each axis' minimum goes to 0, then the overall maximum to 2, then each axis is centred.
Normalisation normalisation(const float *vertices, std::size_t count) {
    const float infinity = std::numeric_limits<float>::infinity();
    Vec3 low{infinity, infinity, infinity}, high{-infinity, -infinity, -infinity};
    for (std::size_t i = 0; i < count; ++i) {
        const Vec3 v = load(vertices + 3 * i);
        if (!finite(v)) continue;
        low = {std::min(low.x, v.x), std::min(low.y, v.y), std::min(low.z, v.z)};
        high = {std::max(high.x, v.x), std::max(high.y, v.y), std::max(high.z, v.z)};
    }
    const Vec3 extent = high - low;
    const float largest = std::max({extent.x, extent.y, extent.z});
    const float scale = largest > 0 && std::isfinite(largest) ? 2 / largest : 0;
    return {scale, {scale * (low.x + extent.x / 2), scale * (low.y + extent.y / 2),
                    scale * (low.z + extent.z / 2)}};
}

Vec3 light(Vec3 position, Vec3 normal, const Lighting &lighting) {
    const Vec3 direction = unit(load(lighting.light_position) - position);
    const float cosine = dot(normal, direction);
    float highlight = 0;
    if (cosine != 0) {
        const Vec3 view = unit(load(lighting.view_position) - position);
        const Vec3 reflected = 2 * cosine * normal - direction;
        highlight = clamp01(power(view.x * reflected.x, lighting.specular_exponent) +
                            power(view.y * reflected.y, lighting.specular_exponent) +
                            power(view.z * reflected.z, lighting.specular_exponent));
    }
    const float diffuse = clamp01(cosine);
    float color[3];
    for (int c = 0; c < 3; ++c)
        color[c] = clamp01(lighting.ambient[c] + diffuse * lighting.directional[c] +
                           highlight * lighting.specular[c]);
    return {color[0], color[1], color[2]};
}

void store(float color, std::uint8_t &pixel) {
    pixel = static_cast<std::uint8_t>(255 * clamp01(color));
}
void store(float color, float &pixel) { pixel = color; }

// Whole pixels from first to last, both inclusive; empty if last < first.
struct Range {
    std::int64_t first, last;

    bool empty() const { return last < first; }
    std::int64_t size() const { return empty() ? 0 : last - first + 1; }
};

// The pixels in [0, size) between the smallest and the largest of a, b, c. No rounding
// functions: without SSE 4.1 they are calls, and this runs for every triangle.
Range covered_range(float a, float b, float c, std::int64_t size) {
    const float low = std::min({a, b, c}), high = std::max({a, b, c});
    const float limit = static_cast<float>(size - 1);
    if (!(high >= 0) || !(low <= limit)) return {0, -1};  // NaN goes here, too
    // clamped while still floats: converting a huge one would be undefined
    const float first = std::max(low, 0.0f);
    const auto truncated = static_cast<std::int64_t>(first);
    const std::int64_t rounded_up = truncated + (static_cast<float>(truncated) < first);
    return {rounded_up, static_cast<std::int64_t>(std::min(high, limit))};
}

// The least barycentric weight that counts as inside, given how the weight changes with
// the pixel. Of two triangles that share an edge, one takes the pixels on it: the one that
// still covers them when they move a little up (along a horizontal edge: left), with a
// margin for the other's rounding. That leaves no pinholes.
float inside_from(float along_x, float along_y) {
    const bool takes_edge = along_y < 0 || (along_y == 0 && along_x < 0);
    return takes_edge ? -1e-6f : std::numeric_limits<float>::min();
}

// A triangle set up for its barycentric weights, linear in the pixel's position:
// w1 = w1x·(x - x0) + w1y·(y - y0), likewise w2, and w0 = 1 - w1 - w2.
struct Triangle {
    Vec3 a, b, c;
    Range columns, rows;
    float w1x, w1y, w2x, w2y;
    float inside0, inside1, inside2;  // the least weights inside

    // False where nothing can be covered.
    bool set(const float *vertices, const std::int32_t *corners, std::int64_t width,
             std::int64_t height) {
        a = load(vertices + 3 * static_cast<std::size_t>(corners[0]));
        b = load(vertices + 3 * static_cast<std::size_t>(corners[1]));
        c = load(vertices + 3 * static_cast<std::size_t>(corners[2]));
        columns = covered_range(a.x, b.x, c.x, width);
        if (columns.empty()) return false;
        rows = covered_range(a.y, b.y, c.y, height);
        if (rows.empty()) return false;
        const Vec3 ab = b - a, ac = c - a;
        const float doubled_area = ab.x * ac.y - ac.x * ab.y;
        if (doubled_area == 0 || !std::isfinite(doubled_area)) return false;
        if (!std::isfinite(a.z) || !std::isfinite(b.z) || !std::isfinite(c.z)) return false;
        const float inverse = 1 / doubled_area;
        w1x = ac.y * inverse, w1y = -ac.x * inverse;
        w2x = -ab.y * inverse, w2y = ab.x * inverse;
        inside0 = inside_from(-w1x - w2x, -w1y - w2y);
        inside1 = inside_from(w1x, w1y);
        inside2 = inside_from(w2x, w2y);
        return true;
    }
};

// The part of the canvas between the outermost vertices, and its depths.
struct DepthBuffer {
    Range columns, rows;
    std::vector<float> depths;

    DepthBuffer(const float *vertices, std::size_t vertex_count, std::int64_t width,
                std::int64_t height) {
        const float infinity = std::numeric_limits<float>::infinity();
        float left = infinity, right = -infinity, top = infinity, bottom = -infinity;
        for (std::size_t i = 0; i < vertex_count; ++i) {
            const float x = vertices[3 * i], y = vertices[3 * i + 1];
            left = std::min(left, x), right = std::max(right, x);  // neither takes a NaN
            top = std::min(top, y), bottom = std::max(bottom, y);
        }
        columns = covered_range(left, right, right, width);
        rows = covered_range(top, bottom, bottom, height);
        depths.assign(static_cast<std::size_t>(columns.size() * rows.size()), -1e8f);
    }

    // depths of row y, to be indexed with a column of the canvas
    float *row(std::int64_t y) {
        return depths.data() + (y - rows.first) * columns.size() - columns.first;
    }
};

}  // namespace

void vertex_normals(const float *vertices, std::size_t vertex_count, const std::int32_t *triangles,
                    std::size_t triangle_count, float *normals) {
    std::fill(normals, normals + 3 * vertex_count, 0.0f);
    for (std::size_t i = 0; i < triangle_count; ++i) {
        const std::int32_t *corners = triangles + 3 * i;
        const Vec3 a = load(vertices + 3 * static_cast<std::size_t>(corners[0]));
        const Vec3 b = load(vertices + 3 * static_cast<std::size_t>(corners[1]));
        const Vec3 c = load(vertices + 3 * static_cast<std::size_t>(corners[2]));
        const Vec3 normal = cross(b - a, c - a);
        if (!finite(normal)) continue;
        for (int k = 0; k < 3; ++k) {
            float *sum = normals + 3 * static_cast<std::size_t>(corners[k]);
            sum[0] += normal.x, sum[1] += normal.y, sum[2] += normal.z;
        }
    }
    for (std::size_t i = 0; i < vertex_count; ++i) {
        const Vec3 normal = unit(load(normals + 3 * i));
        normals[3 * i] = normal.x, normals[3 * i + 1] = normal.y, normals[3 * i + 2] = normal.z;
    }
}

void light_vertices(const float *vertices, const float *normals, std::size_t vertex_count,
                    const Lighting &lighting, float *colors) {
    const Normalisation norm = normalisation(vertices, vertex_count);
    for (std::size_t i = 0; i < vertex_count; ++i) {
        const Vec3 position = norm.scale * load(vertices + 3 * i) - norm.shift;
        const Vec3 color = light(position, load(normals + 3 * i), lighting);
        colors[3 * i] = color.x, colors[3 * i + 1] = color.y, colors[3 * i + 2] = color.z;
    }
}

template <typename Pixel>
void rasterize(Canvas<Pixel> canvas, const float *vertices, std::size_t vertex_count,
               const std::int32_t *triangles, std::size_t triangle_count, const float *colors) {
    DepthBuffer buffer(vertices, vertex_count, canvas.width, canvas.height);
    Triangle t;
    for (std::size_t i = 0; i < triangle_count; ++i) {
        const std::int32_t *corners = triangles + 3 * i;
        if (!t.set(vertices, corners, canvas.width, canvas.height)) continue;
        const float *color[3];
        for (int k = 0; k < 3; ++k)
            color[k] = colors + static_cast<std::size_t>(corners[k]) * canvas.channels;
        for (std::int64_t y = t.rows.first; y <= t.rows.last; ++y) {
            const std::int64_t line = canvas.bottom_up ? canvas.height - 1 - y : y;
            Pixel *pixels = canvas.pixels + line * canvas.width * canvas.channels;
            float *depths = buffer.row(y);
            const float dy = static_cast<float>(y) - t.a.y;
            for (std::int64_t x = t.columns.first; x <= t.columns.last; ++x) {
                const float dx = static_cast<float>(x) - t.a.x;
                const float w1 = t.w1x * dx + t.w1y * dy, w2 = t.w2x * dx + t.w2y * dy;
                const float w0 = 1 - w1 - w2;
                if (!(w0 >= t.inside0 && w1 >= t.inside1 && w2 >= t.inside2)) continue;
                const float depth = w0 * t.a.z + w1 * t.b.z + w2 * t.c.z;
                if (!(depth > depths[x])) continue;
                depths[x] = depth;
                for (std::int64_t c = 0; c < canvas.channels; ++c)
                    store(w0 * color[0][c] + w1 * color[1][c] + w2 * color[2][c],
                          pixels[x * canvas.channels + c]);
            }
        }
    }
}

template void rasterize(Canvas<std::uint8_t>, const float *, std::size_t, const std::int32_t *,
                        std::size_t, const float *);
template void rasterize(Canvas<float>, const float *, std::size_t, const std::int32_t *,
                        std::size_t, const float *);

}  // namespace sim3dr
