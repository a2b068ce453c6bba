#include "fields.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "Sim3DR/lib/clones.h"
#include "lanes.h"

// For functions whose loops gain from AVX2. Without FMA, both clones give the same results.
#define WIDE_CLONES CLONES("default", "avx2")

namespace sim3dr {
namespace {

constexpr int RADIUS = 3, TAPS = 2 * RADIUS;
constexpr int STEPS = 512;  // of a pixel, at which the window is tabulated

// The window's weights for each step of the way from one pixel to the next.
struct Window {
    float weights[STEPS + 1][TAPS];

    Window() {
        for (int step = 0; step <= STEPS; ++step) {
            double sum = 0, raw[TAPS];
            for (int k = 0; k < TAPS; ++k)
                sum += raw[k] = lanczos(static_cast<double>(step) / STEPS + RADIUS - 1 - k);
            for (int k = 0; k < TAPS; ++k) weights[step][k] = static_cast<float>(raw[k] / sum);
        }
    }

private:
    static double lanczos(double x) {
        constexpr double pi = 3.14159265358979323846;
        if (std::fabs(x) < 1e-9) return 1;
        if (std::fabs(x) > RADIUS - 1e-9 || std::fabs(x - std::round(x)) < 1e-9) return 0;
        return RADIUS * std::sin(pi * x) * std::sin(pi * x / RADIUS) / (pi * pi * x * x);
    }
};

// A coordinate within 0 and `last`, cut into a whole pixel and steps of the way to the next.
struct Place {
    std::int64_t pixel;
    int step;

    Place(float at, std::int64_t last) {
        const float limit = static_cast<float>(last);
        const float inside = at > 0 ? (at < limit ? at : limit) : 0;  // NaN becomes 0
        pixel = static_cast<std::int64_t>(inside);
        step = static_cast<int>((inside - static_cast<float>(pixel)) * STEPS + 0.5f);
    }
    bool has_all_taps(std::int64_t size) const {
        return pixel >= RADIUS - 1 && pixel + RADIUS < size;
    }
};

inline Floats across(const float *row, const float *weights) {
    Floats sum = all(weights[0]) * load(row);
    for (int k = 1; k < TAPS; ++k) sum = sum + all(weights[k]) * load(row + 4 * k);
    return sum;
}

// Near the border: the pixels beyond it are those on it.
inline Floats across_border(const float *row, const float *weights, std::int64_t first,
                            std::int64_t last) {
    Floats sum = all(0);
    for (int k = 0; k < TAPS; ++k) {
        const std::int64_t x = std::min(std::max<std::int64_t>(first + k, 0), last);
        sum = sum + all(weights[k]) * load(row + 4 * x);
    }
    return sum;
}

WIDE_CLONES void sample_all(const Window &window, const float *picture, std::int64_t height,
                            std::int64_t width, const float *places, std::int64_t count,
                            float *out) {
    for (std::int64_t i = 0; i < count; ++i, out += 4) {
        const Place x(places[2 * i], width - 1), y(places[2 * i + 1], height - 1);
        if (x.step == 0 && y.step == 0) {
            store(load(picture + 4 * (y.pixel * width + x.pixel)), out);
            continue;
        }
        const float *wx = window.weights[x.step], *wy = window.weights[y.step];
        const std::int64_t left = x.pixel - (RADIUS - 1), top = y.pixel - (RADIUS - 1);
        Floats sum = all(0);
        if (x.has_all_taps(width) && y.has_all_taps(height)) {
            const float *row = picture + 4 * (top * width + left);
            for (int k = 0; k < TAPS; ++k, row += 4 * width)
                sum = sum + all(wy[k]) * across(row, wx);
        } else {
            for (int k = 0; k < TAPS; ++k) {
                const std::int64_t line = std::min(std::max<std::int64_t>(top + k, 0), height - 1);
                sum = sum + all(wy[k]) * across_border(picture + 4 * line * width, wx, left,
                                                       width - 1);
            }
        }
        store(sum, out);
    }
}

constexpr std::int64_t COARSEST = 24;  // cells across, below which a grid is not halved
constexpr int SWEEPS = 20, COARSEST_SWEEPS = 80;

// One channel of a field on one level of detail.
struct Grid {
    std::int64_t height, width;
    std::vector<float> values, open;  // open: 1 where unknown, 0 where known

    Grid(std::int64_t rows, std::int64_t columns)
        : height(rows), width(columns), values(rows * columns), open(rows * columns) {}
};

// Half as many cells each way: known where one of four is, as their mean.
Grid halved(const Grid &fine) {
    Grid coarse((fine.height + 1) / 2, (fine.width + 1) / 2);
    for (std::int64_t y = 0; y < coarse.height; ++y)
        for (std::int64_t x = 0; x < coarse.width; ++x) {
            float sum = 0, known = 0;
            for (std::int64_t j = 2 * y; j < std::min(2 * y + 2, fine.height); ++j)
                for (std::int64_t i = 2 * x; i < std::min(2 * x + 2, fine.width); ++i) {
                    const std::int64_t at = j * fine.width + i;
                    if (fine.open[at] == 0) sum += fine.values[at], known += 1;
                }
            const std::int64_t at = y * coarse.width + x;
            coarse.open[at] = known == 0;
            coarse.values[at] = known == 0 ? 0 : sum / known;
        }
    return coarse;
}

// Unknown cells begin as the coarser level has them, bilinear between its cells.
void begin_from(const Grid &coarse, Grid &fine) {
    for (std::int64_t y = 0; y < fine.height; ++y) {
        const std::int64_t near_y = y / 2, far_y =
            std::min(std::max<std::int64_t>(near_y + (y % 2 ? 1 : -1), 0), coarse.height - 1);
        const float *near = &coarse.values[near_y * coarse.width];
        const float *far = &coarse.values[far_y * coarse.width];
        for (std::int64_t x = 0; x < fine.width; ++x) {
            const std::int64_t at = y * fine.width + x, near_x = x / 2;
            if (fine.open[at] == 0) continue;
            const std::int64_t far_x =
                std::min(std::max<std::int64_t>(near_x + (x % 2 ? 1 : -1), 0), coarse.width - 1);
            fine.values[at] = 0.5625f * near[near_x] + 0.1875f * (near[far_x] + far[near_x]) +
                              0.0625f * far[far_x];
        }
    }
}

// Each unknown cell becomes the mean of its four neighbours.
WIDE_CLONES void relax(Grid &grid, int sweeps) {
    const std::int64_t width = grid.width, height = grid.height;
    std::vector<float> before(grid.values.size());
    std::vector<float> line(width + 2);
    for (int sweep = 0; sweep < sweeps; ++sweep) {
        before.swap(grid.values);
        for (std::int64_t y = 0; y < height; ++y) {
            const float *row = &before[y * width], *open = &grid.open[y * width];
            const float *above = y > 0 ? row - width : row;
            const float *below = y + 1 < height ? row + width : row;
            std::copy(row, row + width, line.begin() + 1);  // with a neighbour at either end
            line[0] = row[0], line[width + 1] = row[width - 1];
            float *to = &grid.values[y * width];
            for (std::int64_t x = 0; x < width; ++x) {
                const float mean = 0.25f * (above[x] + below[x] + line[x] + line[x + 2]);
                to[x] = row[x] + open[x] * (mean - row[x]);
            }
        }
    }
}

void solve(Grid &grid) {
    if (std::min(grid.height, grid.width) < COARSEST) {
        relax(grid, COARSEST_SWEEPS);
        return;
    }
    Grid coarse = halved(grid);
    solve(coarse);
    begin_from(coarse, grid);
    relax(grid, SWEEPS);
}

}  // namespace

void sample_lanczos(const float *picture, std::int64_t height, std::int64_t width,
                    const float *places, std::int64_t count, float *out) {
    static const Window window;
    sample_all(window, picture, height, width, places, count, out);
}

void extend(float *values, const std::uint8_t *known, std::int64_t channels, std::int64_t height,
            std::int64_t width) {
    const std::int64_t cells = height * width;
    for (std::int64_t c = 0; c < channels; ++c, values += cells) {
        Grid grid(height, width);
        for (std::int64_t i = 0; i < cells; ++i) {
            grid.open[i] = known[i] == 0;
            grid.values[i] = known[i] == 0 ? 0 : values[i];
        }
        solve(grid);
        std::copy(grid.values.begin(), grid.values.end(), values);
    }
}

}  // namespace sim3dr
