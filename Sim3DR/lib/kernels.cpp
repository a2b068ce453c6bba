#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "Sim3DR/lib/clones.h"
#include "lanes.h"

// For functions whose loops gain from AVX2. Without FMA, both clones give the same results.
#define WIDE_CLONES CLONES("default", "avx2")

namespace sim3dr {
namespace {

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr float LARGEST = std::numeric_limits<float>::max();

float lower(float a, float b) { return b < a ? b : a; }  // one instruction each; keeps a, not
float upper(float a, float b) { return b > a ? b : a; }  // a b that is NaN
float clamp01(float value) { return value > 0 ? lower(1, value) : 0; }

// Four floats, so that it is loaded and summed as one.
struct alignas(16) Point {
    float x, y, z, unused;
};

using Points = std::unique_ptr<Point[]>;  // unlike a vector's, its memory is not cleared first

Floats lanes(const Point &p) { return load(&p.x); }
bool finite(float value) { return std::fabs(value) <= LARGEST; }
bool finite(const Point &p) { return finite(p.x) & finite(p.y) & finite(p.z); }
Point operator-(const Point &a, const Point &b) { return {a.x - b.x, a.y - b.y, a.z - b.z, 0}; }
Point cross(const Point &a, const Point &b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x, 0};
}

Points read(const Mesh &mesh) {
    Points points(new Point[mesh.vertex_count]);
    for (std::size_t i = 0; i < mesh.vertex_count; ++i) {
        const float *vertex = mesh.vertices + static_cast<std::ptrdiff_t>(i) * mesh.vertex_step;
        points[i] = {vertex[0] - mesh.left, vertex[mesh.axis_step] - mesh.top,
                     vertex[2 * mesh.axis_step], 0};
    }
    return points;
}

// The smallest box around points; `low` is above `high` where there are none.
struct Box {
    Point low{INFINITE, INFINITE, INFINITE, 0}, high{-INFINITE, -INFINITE, -INFINITE, 0};

    template <typename Accept>
    Box(const Point *points, std::size_t count, Accept accept) {
        Floats lowest = lanes(low), highest = lanes(high);
        for (std::size_t i = 0; i < count; ++i) {
            if (!accept(points[i])) continue;
            const Floats p = lanes(points[i]);
            lowest = select(lowest > p, p, lowest);  // never true of NaN
            highest = select(p > highest, p, highest);
        }
        store(lowest, &low.x);
        store(highest, &high.x);
    }
};

// Sums of the adjacent triangles' cross products, in the order of the triangles.
Points summed_normals(const Mesh &mesh, const Point *points) {
    Points normals(new Point[mesh.vertex_count]());
    for (std::size_t i = 0; i < mesh.triangle_count; ++i) {
        const std::int32_t *corners = mesh.triangles + 3 * i;
        const Point a = points[corners[0]];
        const Point normal = cross(points[corners[1]] - a, points[corners[2]] - a);
        if (!finite(normal)) continue;
        const Floats addend{normal.x, normal.y, normal.z, 0};
        for (int k = 0; k < 3; ++k) {
            Point &sum = normals[corners[k]];
            store(lanes(sum) + addend, &sum.x);
        }
    }
    return normals;
}

// As many vectors as are worked on together, by axis: what compilers turn into SIMD.
constexpr std::size_t BLOCK = 256;

struct Vectors {
    float x[BLOCK], y[BLOCK], z[BLOCK];

    void load(const Point *points, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            x[i] = points[i].x, y[i] = points[i].y, z[i] = points[i].z;
    }
    // Unit vectors; zero and non-finite ones become zero.
    void normalise() {
        for (std::size_t i = 0; i < BLOCK; ++i) {
            const float squared = x[i] * x[i] + y[i] * y[i] + z[i] * z[i];
            const bool proper = (squared > 0) & finite(squared);
            const float factor = 1 / std::sqrt(squared);
            x[i] = proper ? factor * x[i] : 0;
            y[i] = proper ? factor * y[i] : 0;
            z[i] = proper ? factor * z[i] : 0;
        }
    }
};

// The map of finite vertices into a box of size 2 around the origin: v -> scale·v - shift.
struct Normalisation {
    float scale, shift[3];

    // Each axis' minimum goes to 0, then the overall maximum to 2, then each axis is centred.
    Normalisation(const Point *points, std::size_t count) {
        const Box box(points, count, [](const Point &p) { return finite(p); });
        const Point low = box.low, extent = box.high - box.low;
        const float largest = std::max({extent.x, extent.y, extent.z});
        scale = largest > 0 && finite(largest) ? 2 / largest : 0;
        shift[0] = scale * (low.x + extent.x / 2);
        shift[1] = scale * (low.y + extent.y / 2);
        shift[2] = scale * (low.z + extent.z / 2);
    }
    void apply(Vectors &v) const {
        for (std::size_t i = 0; i < BLOCK; ++i) {
            v.x[i] = scale * v.x[i] - shift[0];
            v.y[i] = scale * v.y[i] - shift[1];
            v.z[i] = scale * v.z[i] - shift[2];
        }
    }
};

// Unit vectors from positions to a place.
Vectors directions(const float place[3], const Vectors &positions) {
    Vectors v;
    for (std::size_t i = 0; i < BLOCK; ++i) {
        v.x[i] = place[0] - positions.x[i];
        v.y[i] = place[1] - positions.y[i];
        v.z[i] = place[2] - positions.z[i];
    }
    v.normalise();
    return v;
}

// sums += products^exponent; small whole exponents, which everybody uses, without pow().
void add_powers(const float *products, float exponent, float *sums) {
    const int whole = exponent >= 0 && exponent <= 64 ? static_cast<int>(exponent) : -1;
    float powers[BLOCK];
    if (static_cast<float>(whole) == exponent) {
        std::fill(powers, powers + BLOCK, 1.0f);
        for (int k = 0; k < whole; ++k)
            for (std::size_t i = 0; i < BLOCK; ++i) powers[i] *= products[i];
    } else {
        for (std::size_t i = 0; i < BLOCK; ++i) powers[i] = std::pow(products[i], exponent);
    }
    for (std::size_t i = 0; i < BLOCK; ++i) sums[i] += powers[i];
}

// How much diffuse and specular light falls on each of a block of vertices.
struct Incidence {
    float diffuse[BLOCK], highlight[BLOCK];

    Incidence(const Vectors &positions, const Vectors &normals, const Lighting &lighting) {
        const Vectors light = directions(lighting.light_position, positions);
        const Vectors view = directions(lighting.view_position, positions);
        float cosine[BLOCK];
        Vectors glare;  // view · reflected light, by axis
        for (std::size_t i = 0; i < BLOCK; ++i) {
            cosine[i] = normals.x[i] * light.x[i] + normals.y[i] * light.y[i] +
                        normals.z[i] * light.z[i];
            glare.x[i] = view.x[i] * (2 * cosine[i] * normals.x[i] - light.x[i]);
            glare.y[i] = view.y[i] * (2 * cosine[i] * normals.y[i] - light.y[i]);
            glare.z[i] = view.z[i] * (2 * cosine[i] * normals.z[i] - light.z[i]);
        }
        std::fill(highlight, highlight + BLOCK, 0.0f);
        for (const float *axis : {glare.x, glare.y, glare.z})
            add_powers(axis, lighting.specular_exponent, highlight);
        for (std::size_t i = 0; i < BLOCK; ++i) {
            diffuse[i] = clamp01(cosine[i]);
            highlight[i] = cosine[i] != 0 ? clamp01(highlight[i]) : 0;
        }
    }
};

WIDE_CLONES void light_points(const Mesh &mesh, const Point *points, const Lighting &lighting,
                  std::size_t channels, float *colors) {
    const Points normals = summed_normals(mesh, points);
    const Normalisation normalisation(points, mesh.vertex_count);
    Vectors position{}, normal{};
    for (std::size_t start = 0; start < mesh.vertex_count; start += BLOCK) {
        const std::size_t count = std::min(BLOCK, mesh.vertex_count - start);
        position.load(points + start, count);
        normalisation.apply(position);
        normal.load(normals.get() + start, count);
        normal.normalise();
        const Incidence light(position, normal, lighting);
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t i = 0; i < count; ++i)
                colors[(start + i) * channels + c] =
                    clamp01(lighting.ambient[c] + light.diffuse[i] * lighting.directional[c] +
                            light.highlight[i] * lighting.specular[c]);
    }
}

// Whole pixels from first to last, both inclusive; empty if last < first.
struct Range {
    std::int32_t first, last;

    bool empty() const { return last < first; }
    std::int64_t size() const { return empty() ? 0 : std::int64_t{last} - first + 1; }
};

// The pixels from 0 to `limit` between low and high. No rounding functions: without SSE 4.1
// they are calls. No branches: this runs for every triangle.
Range covered_range(float low, float high, float limit) {
    // clamped while still floats: converting a huge one would be undefined
    const float begin = lower(limit + 1, upper(0, low)), end = upper(-1, lower(limit, high));
    const auto first = static_cast<std::int32_t>(begin), last = static_cast<std::int32_t>(end);
    return {first + (static_cast<float>(first) < begin), last - (static_cast<float>(last) > end)};
}

// The least barycentric weight that counts as inside, given how the weight changes with
// the pixel. Of two triangles that share an edge, one takes the pixels on it: the one that
// still covers them when they move a little up (along a horizontal edge: left), with a
// margin for the other's rounding. That leaves no pinholes.
float inside_from(float along_x, float along_y) {
    const bool takes_edge = (along_y < 0) | ((along_y == 0) & (along_x < 0));
    return takes_edge ? -1e-6f : std::numeric_limits<float>::min();
}

// A block of triangles set up for their barycentric weights, linear in the pixel's position:
// w1 = w1x·(x - ax) + w1y·(y - ay), likewise w2, and w0 = 1 - w1 - w2.
struct Triangles {
    float ax[BLOCK], ay[BLOCK], az[BLOCK], bx[BLOCK], by[BLOCK], bz[BLOCK];
    float cx[BLOCK], cy[BLOCK], cz[BLOCK];
    Range columns[BLOCK], rows[BLOCK];
    float w1x[BLOCK], w1y[BLOCK], w2x[BLOCK], w2y[BLOCK];
    float inside0[BLOCK], inside1[BLOCK], inside2[BLOCK];  // the least weights inside
    std::int32_t drawable[BLOCK];                          // 0 where nothing can be covered

    void set(const Point *points, const std::int32_t *corners, std::size_t count,
             float right_limit, float bottom_limit) {
        load(points, corners, count);
        for (std::size_t i = 0; i < BLOCK; ++i) {
            columns[i] = covered_range(lower(lower(ax[i], bx[i]), cx[i]),
                                       upper(upper(ax[i], bx[i]), cx[i]), right_limit);
            rows[i] = covered_range(lower(lower(ay[i], by[i]), cy[i]),
                                    upper(upper(ay[i], by[i]), cy[i]), bottom_limit);
        }
        for (std::size_t i = 0; i < BLOCK; ++i) set_weights(i);
    }

private:
    void load(const Point *points, const std::int32_t *corners, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i, corners += 3) {
            const Point a = points[corners[0]], b = points[corners[1]], c = points[corners[2]];
            ax[i] = a.x, ay[i] = a.y, az[i] = a.z;
            bx[i] = b.x, by[i] = b.y, bz[i] = b.z;
            cx[i] = c.x, cy[i] = c.y, cz[i] = c.z;
        }
    }

    void set_weights(std::size_t i) {
        const float abx = bx[i] - ax[i], aby = by[i] - ay[i];
        const float acx = cx[i] - ax[i], acy = cy[i] - ay[i];
        const float doubled_area = abx * acy - acx * aby, inverse = 1 / doubled_area;
        const float w1_x = acy * inverse, w1_y = -acx * inverse;
        const float w2_x = -aby * inverse, w2_y = abx * inverse;
        w1x[i] = w1_x, w1y[i] = w1_y, w2x[i] = w2_x, w2y[i] = w2_y;
        inside0[i] = inside_from(-w1_x - w2_x, -w1_y - w2_y);
        inside1[i] = inside_from(w1_x, w1_y);
        inside2[i] = inside_from(w2_x, w2_y);
        drawable[i] = (columns[i].first <= columns[i].last) & (rows[i].first <= rows[i].last) &
                      (doubled_area != 0) & finite(doubled_area) & finite(az[i]) &
                      finite(bz[i]) & finite(cz[i]);
    }
};

constexpr float FARTHEST = -1e8f;

// What a drawing keeps of the triangles that are seen: their corners' colours, interpolated.
struct Colors {
    const float *values;
    std::size_t channels;

    struct Triangle {
        const float *a, *b, *c;
        std::size_t channels;

        void put(Mask seen, Floats w0, Floats w1, Floats w2, float *to, std::int64_t plane) const {
            for (std::size_t k = 0; k < channels; ++k, to += plane) {
                const Floats value = w0 * all(a[k]) + w1 * all(b[k]) + w2 * all(c[k]);
                store(select(seen, value, load(to)), to);
            }
        }
    };
    Triangle of(std::size_t, const std::int32_t *corners) const {
        return {values + corners[0] * channels, values + corners[1] * channels,
                values + corners[2] * channels, channels};
    }
};

// What a drawing keeps for a raster: the triangle's number, as a float's bits, and the weights.
struct Places {
    std::size_t channels = 4;

    struct Triangle {
        Floats number;

        void put(Mask seen, Floats w0, Floats w1, Floats w2, float *to, std::int64_t plane) const {
            for (const Floats &value : {number, w0, w1, w2}) {
                store(select(seen, value, load(to)), to);
                to += plane;
            }
        }
    };
    Triangle of(std::size_t number, const std::int32_t *) const {
        const auto whole = static_cast<std::int32_t>(number);
        float bits;
        std::memcpy(&bits, &whole, sizeof bits);
        return {all(bits)};
    }
};

void convert(float color, std::uint8_t &to) { to = static_cast<std::uint8_t>(255 * clamp01(color)); }
void convert(float color, float &to) { to = color; }

// The part of a canvas between the outermost vertices: a depth and what else is kept of each
// pixel. Channels lie apart, and rows are a little longer than they need be, so that several
// pixels can be drawn at once.
class Drawing {
public:
    Drawing(const Point *points, std::size_t count, std::int64_t width, std::int64_t height,
            std::size_t channels)
        : right_limit_(limit(width)), bottom_limit_(limit(height)), channels_(channels) {
        const Box box(points, count, [](const Point &) { return true; });
        columns_ = covered_range(box.low.x, box.high.x, right_limit_);
        rows_ = covered_range(box.low.y, box.high.y, bottom_limit_);
        stride_ = columns_.size() + LANES - 1;
        plane_ = rows_.size() * stride_;
        pixels_.reset(new float[static_cast<std::size_t>(plane_) * (1 + channels)]);
        std::fill(pixels_.get(), pixels_.get() + plane_, FARTHEST);
    }

    template <typename Kept>
    void draw(const Mesh &mesh, const Point *points, const Kept &kept) {
        Triangles triangles{};
        for (std::size_t start = 0; start < mesh.triangle_count; start += BLOCK) {
            const std::size_t count = std::min(BLOCK, mesh.triangle_count - start);
            const std::int32_t *corners = mesh.triangles + 3 * start;
            triangles.set(points, corners, count, right_limit_, bottom_limit_);
            std::int32_t drawable[BLOCK], drawables = 0;
            for (std::size_t i = 0; i < count; ++i) {  // without a branch, it would be guesswork
                drawable[drawables] = static_cast<std::int32_t>(i);
                drawables += triangles.drawable[i];
            }
            for (std::int32_t k = 0; k < drawables; ++k) {
                const std::int32_t i = drawable[k];
                draw(triangles, i, kept.of(start + i, corners + 3 * i));
            }
        }
    }

    template <typename Pixel>
    void copy_to(Canvas<Pixel> canvas) const {
        const std::int64_t width = columns_.size(), next = channels_ == 1 ? 0 : width;
        const std::unique_ptr<Pixel[]> row(new Pixel[width * channels_]);  // by channel
        for (std::int32_t y = rows_.first; y <= rows_.last; ++y) {
            const float *depths = pixel(columns_.first, y);
            for (std::size_t k = 0; k < channels_; ++k)
                for (std::int64_t x = 0; x < width; ++x)
                    convert(depths[(k + 1) * plane_ + x], row[k * width + x]);
            Pixel *to = canvas.pixels + y * canvas.row_step + columns_.first * canvas.channels;
            for (std::int64_t x = 0; x < width; ++x, to += canvas.channels)
                if (depths[x] > FARTHEST)
                    for (std::int64_t c = 0; c < canvas.channels; ++c) to[c] = row[c * next + x];
        }
    }

    // For what `Places` has kept.
    void copy_to(const Raster &raster) const {
        for (std::int32_t y = rows_.first; y <= rows_.last; ++y) {
            const float *depths = pixel(columns_.first, y);
            const std::int64_t first = y * raster.width + columns_.first;
            for (std::int64_t x = 0; x < columns_.size(); ++x) {
                if (!(depths[x] > FARTHEST)) continue;
                const float *kept = depths + x + plane_;
                std::memcpy(raster.numbers + first + x, kept, sizeof *kept);
                for (int k = 0; k < 3; ++k)
                    raster.weights[3 * (first + x) + k] = kept[(k + 1) * plane_];
                raster.depths[first + x] = depths[x];
            }
        }
    }

private:
    // the last pixel of a side; beyond 2^24, floats cannot tell pixels apart
    static float limit(std::int64_t size) {
        return static_cast<float>(std::min<std::int64_t>(size - 1, 1 << 24));
    }

    float *pixel(std::int32_t x, std::int32_t y) const {
        return pixels_.get() + (y - rows_.first) * stride_ + (x - columns_.first);
    }

    template <typename Triangle>
    void draw(const Triangles &t, std::size_t i, const Triangle triangle) {
        const Range columns = t.columns[i], rows = t.rows[i];
        // all in variables: for all the compiler knows, storing pixels changes anything else
        const std::int64_t stride = stride_, plane = plane_;
        const Floats ax = all(t.ax[i]), w1x = all(t.w1x[i]), w2x = all(t.w2x[i]);
        const Floats az = all(t.az[i]), bz = all(t.bz[i]), cz = all(t.cz[i]);
        const Floats inside0 = all(t.inside0[i]), inside1 = all(t.inside1[i]);
        const Floats inside2 = all(t.inside2[i]), last = all(static_cast<float>(columns.last));
        const float ay = t.ay[i], w1y = t.w1y[i], w2y = t.w2y[i];
        float *row = pixel(columns.first, rows.first);
        for (std::int32_t y = rows.first; y <= rows.last; ++y, row += stride) {
            const float dy = static_cast<float>(y) - ay;
            const Floats w1_row = all(w1y * dy), w2_row = all(w2y * dy);
            float *depths = row;
            for (std::int32_t x = columns.first; x <= columns.last; x += LANES, depths += LANES) {
                const Floats xs = all(static_cast<float>(x)) + Floats{0, 1, 2, 3}, dx = xs - ax;
                const Floats w1 = w1x * dx + w1_row, w2 = w2x * dx + w2_row;
                const Floats w0 = all(1) - w1 - w2;
                const Floats depth = w0 * az + w1 * bz + w2 * cz;
                const Floats before = load(depths);
                const Mask seen = (w0 >= inside0) & (w1 >= inside1) & (w2 >= inside2) &
                                  (depth > before) & (last >= xs);
                store(select(seen, depth, before), depths);
                triangle.put(seen, w0, w1, w2, depths + plane, plane);
            }
        }
    }

    float right_limit_, bottom_limit_;
    std::size_t channels_;
    Range columns_, rows_;
    std::int64_t stride_, plane_;  // from a row and a channel to the next
    std::unique_ptr<float[]> pixels_;
};

// Outside of the class and of templates, so that there are clones of them.
WIDE_CLONES void draw_all(Drawing &drawing, const Mesh &mesh, const Point *points,
                          const Colors &colors) {
    drawing.draw(mesh, points, colors);
}

WIDE_CLONES void draw_all(Drawing &drawing, const Mesh &mesh, const Point *points,
                          const Places &places) {
    drawing.draw(mesh, points, places);
}

template <typename Image, typename Kept>
void draw_points(Image image, const Mesh &mesh, const Point *points, const Kept &kept) {
    Drawing drawing(points, mesh.vertex_count, image.width, image.height, kept.channels);
    draw_all(drawing, mesh, points, kept);
    drawing.copy_to(image);
}

}  // namespace

void vertex_normals(const Mesh &mesh, float *normals) {
    const Points sums = summed_normals(mesh, read(mesh).get());
    Vectors v{};
    for (std::size_t start = 0; start < mesh.vertex_count; start += BLOCK) {
        const std::size_t count = std::min(BLOCK, mesh.vertex_count - start);
        v.load(sums.get() + start, count);
        v.normalise();
        for (std::size_t i = 0; i < count; ++i, normals += 3)
            normals[0] = v.x[i], normals[1] = v.y[i], normals[2] = v.z[i];
    }
}

void light_vertices(const Mesh &mesh, const Lighting &lighting, std::size_t channels,
                    float *colors) {
    light_points(mesh, read(mesh).get(), lighting, channels, colors);
}

template <typename Pixel>
void rasterize(Canvas<Pixel> canvas, const Mesh &mesh, const float *colors,
               std::size_t color_channels) {
    draw_points(canvas, mesh, read(mesh).get(), Colors{colors, color_channels});
}

void rasterise(const Raster &raster, const Mesh &mesh) {
    draw_points(raster, mesh, read(mesh).get(), Places{});
}

template <typename Pixel>
void draw_lit(Canvas<Pixel> canvas, const Mesh &mesh, const Lighting &lighting) {
    const Points points = read(mesh);
    const auto grey = [](const float *c) { return c[0] == c[1] && c[1] == c[2]; };
    const bool white =
        grey(lighting.ambient) && grey(lighting.directional) && grey(lighting.specular);
    const std::size_t channels = white ? 1 : 3;
    const std::unique_ptr<float[]> colors(new float[mesh.vertex_count * channels]);
    light_points(mesh, points.get(), lighting, channels, colors.get());
    draw_points(canvas, mesh, points.get(), Colors{colors.get(), channels});
}

template void rasterize(Canvas<std::uint8_t>, const Mesh &, const float *, std::size_t);
template void rasterize(Canvas<float>, const Mesh &, const float *, std::size_t);
template void draw_lit(Canvas<std::uint8_t>, const Mesh &, const Lighting &);
template void draw_lit(Canvas<float>, const Mesh &, const Lighting &);

namespace {

// What a block of vertices reads from a picture: where the pixel above left of each begins, how far
// on its neighbours are, and the weights of the four.
struct Samples {
    std::int64_t begin[BLOCK], right[BLOCK], below[BLOCK];
    float weights[4][BLOCK];  // above left, above right, below left, below right

    void set(const Canvas<const std::uint8_t> &picture, const Mesh &mesh, std::size_t start,
             std::size_t count) {
        const auto right_limit = static_cast<float>(picture.width - 1);
        const auto bottom_limit = static_cast<float>(picture.height - 1);
        const auto step = mesh.vertex_step;
        const float *vertex = mesh.vertices + static_cast<std::ptrdiff_t>(start) * step;
        for (std::size_t i = 0; i < count; ++i, vertex += step) {
            const float x = lower(right_limit, upper(0, vertex[0]));
            const float y = lower(bottom_limit, upper(0, vertex[mesh.axis_step]));
            const auto left = static_cast<std::int32_t>(x), top = static_cast<std::int32_t>(y);
            const float across = x - static_cast<float>(left), down = y - static_cast<float>(top);
            begin[i] = top * picture.row_step + left * picture.channels;
            right[i] = left + 1 < picture.width ? picture.channels : 0;
            below[i] = top + 1 < picture.height ? picture.row_step : 0;
            weights[0][i] = (1 - across) * (1 - down), weights[1][i] = across * (1 - down);
            weights[2][i] = (1 - across) * down, weights[3][i] = across * down;
        }
    }
};

WIDE_CLONES void sample_points(const Canvas<const std::uint8_t> &picture, const Mesh &mesh,
                               float *colors) {
    Samples samples{};
    for (std::size_t start = 0; start < mesh.vertex_count; start += BLOCK) {
        const std::size_t count = std::min(BLOCK, mesh.vertex_count - start);
        samples.set(picture, mesh, start, count);
        for (std::int64_t c = 0; c < picture.channels; ++c) {
            std::int32_t levels[4][BLOCK];
            for (std::size_t i = 0; i < count; ++i) {
                const std::uint8_t *pixel = picture.pixels + samples.begin[i] + c;
                const std::int64_t right = samples.right[i], below = samples.below[i];
                levels[0][i] = pixel[0], levels[1][i] = pixel[right];
                levels[2][i] = pixel[below], levels[3][i] = pixel[below + right];
            }
            for (std::size_t i = 0; i < count; ++i) {
                float sum = 0;
                for (int k = 0; k < 4; ++k)
                    sum += samples.weights[k][i] * static_cast<float>(levels[k][i]);
                colors[(start + i) * picture.channels + c] = sum / 255;
            }
        }
    }
}

}  // namespace

void sample_bilinear(Canvas<const std::uint8_t> picture, const Mesh &mesh, float *colors) {
    sample_points(picture, mesh, colors);
}

template <typename Pixel>
void interpolate(Canvas<Pixel> canvas, const Raster &raster, const std::int32_t *triangles,
                 const float *values) {
    const std::int64_t channels = canvas.channels;
    for (std::int64_t y = 0; y < raster.height; ++y) {
        Pixel *to = canvas.pixels + y * canvas.row_step;
        for (std::int64_t x = 0; x < raster.width; ++x, to += channels) {
            const std::int64_t place = y * raster.width + x, number = raster.numbers[place];
            if (number < 0) continue;
            const std::int32_t *corners = triangles + 3 * number;
            const float *a = values + corners[0] * channels, *b = values + corners[1] * channels;
            const float *c = values + corners[2] * channels, *w = raster.weights + 3 * place;
            for (std::int64_t k = 0; k < channels; ++k)
                convert(w[0] * a[k] + w[1] * b[k] + w[2] * c[k], to[k]);
        }
    }
}

template void interpolate(Canvas<std::uint8_t>, const Raster &, const std::int32_t *,
                          const float *);
template void interpolate(Canvas<float>, const Raster &, const std::int32_t *, const float *);

}  // namespace sim3dr
