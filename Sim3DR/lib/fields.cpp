#include "fields.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "Sim3DR/lib/clones.h"
#include "lanes.h"

// For functions whose loops gain from AVX2. Without FMA, both clones give the same results.
#define WIDE_CLONES CLONES("default", "avx2")

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // how Twice is passed: not at all, it is inlined
#endif

namespace sim3dr {
namespace {

constexpr int RADIUS = 3, TAPS = 2 * RADIUS;
constexpr int STEPS = 512;  // of a pixel, at which the window is tabulated

// The window's weights for each step of the way from one pixel to the next.
struct Window {
    float weights[STEPS + 1][TAPS];
    float by_channel[STEPS + 1][4 * TAPS];  // each weight four times

    Window() {
        for (int step = 0; step <= STEPS; ++step) {
            double sum = 0, raw[TAPS];
            for (int k = 0; k < TAPS; ++k)
                sum += raw[k] = lanczos(static_cast<double>(step) / STEPS + RADIUS - 1 - k);
            for (int k = 0; k < TAPS; ++k) {
                weights[step][k] = static_cast<float>(raw[k] / sum);
                std::fill_n(by_channel[step] + 4 * k, 4, weights[step][k]);
            }
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

// Well inside the picture, whose rows have so many floats: two pixels at a time.
inline Floats inside(const float *corner, std::int64_t row_step, const float *wx,
                     const float *wy) {
    const Twice first = load_twice(wx), second = load_twice(wx + 8), third = load_twice(wx + 16);
    Twice sum = all_twice(0);
    for (int row = 0; row < TAPS; ++row, corner += row_step)
        sum = sum + all_twice(wy[row]) * (first * load_twice(corner) +
                                          second * load_twice(corner + 8) +
                                          third * load_twice(corner + 16));
    return sum_of_halves(sum);
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
            sum = inside(picture + 4 * (top * width + left), 4 * width,
                         window.by_channel[x.step], wy);
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

constexpr std::int64_t COARSEST = 8;  // cells across, below which a grid is not halved
constexpr int SWEEPS = 2, COARSEST_SWEEPS = 40, CYCLES = 3;

// One channel of a field on one level of detail: an open cell is to become the mean of its
// neighbours plus its force, the others stay.
struct Grid {
    std::int64_t height, width;
    std::vector<float> values, open, force;  // open: 1 or 0

    Grid(std::int64_t rows, std::int64_t columns)
        : height(rows), width(columns), values(rows * columns), open(rows * columns),
          force(rows * columns) {}

    Grid half() const { return {(height + 1) / 2, (width + 1) / 2}; }
    bool is_coarsest() const { return std::min(height, width) < COARSEST; }
};

// What each open cell lacks of the mean of its neighbours and its force; 0 in the others.
WIDE_CLONES void lack(const Grid &grid, float *to) {
    const std::int64_t width = grid.width;
    std::vector<float> line(width + 2);
    for (std::int64_t y = 0; y < grid.height; ++y, to += width) {
        const float *row = &grid.values[y * width], *open = &grid.open[y * width];
        const float *above = y > 0 ? row - width : row, *force = &grid.force[y * width];
        const float *below = y + 1 < grid.height ? row + width : row;
        std::copy(row, row + width, line.begin() + 1);  // with a neighbour at either end
        line[0] = row[0], line[width + 1] = row[width - 1];
        for (std::int64_t x = 0; x < width; ++x) {
            const float mean = 0.25f * (above[x] + below[x] + line[x] + line[x + 2]);
            to[x] = open[x] * (mean + force[x] - row[x]);
        }
    }
}

// Jacobi's sweeps, damped, as that smooths best.
void relax(Grid &grid, int sweeps, std::vector<float> &scratch) {
    scratch.resize(grid.values.size());
    for (int sweep = 0; sweep < sweeps; ++sweep) {
        lack(grid, scratch.data());
        for (std::size_t i = 0; i < scratch.size(); ++i) grid.values[i] += 0.8f * scratch[i];
    }
}

// For each cell of a coarse grid, its up to four cells of the fine one: use(cell, fine cell).
template <typename Use>
void pair_cells(const Grid &coarse, const Grid &fine, Use use) {
    for (std::int64_t y = 0; y < fine.height; ++y)
        for (std::int64_t x = 0; x < fine.width; ++x)
            use(y / 2 * coarse.width + x / 2, y * fine.width + x);
}

// Open cells gain what the coarser level has there, bilinear between its cells.
void add_from(const Grid &coarse, Grid &fine) {
    const auto next = [](std::int64_t i, std::int64_t count) {
        return std::min(std::max<std::int64_t>(i / 2 + (i % 2 ? 1 : -1), 0), count - 1);
    };
    for (std::int64_t y = 0; y < fine.height; ++y) {
        const float *near = &coarse.values[y / 2 * coarse.width];
        const float *far = &coarse.values[next(y, coarse.height) * coarse.width];
        for (std::int64_t x = 0; x < fine.width; ++x) {
            const std::int64_t at = y * fine.width + x, i = x / 2, j = next(x, coarse.width);
            fine.values[at] += fine.open[at] * (0.5625f * near[i] + 0.1875f * (near[j] + far[i]) +
                                                0.0625f * far[j]);
        }
    }
}

// A first solution: that of the grid of half the cells, which know the mean of what theirs know.
void begin(Grid &fine, std::vector<float> &scratch) {
    if (fine.is_coarsest()) return relax(fine, COARSEST_SWEEPS, scratch);
    Grid coarse = fine.half();
    std::vector<float> known(coarse.values.size());
    pair_cells(coarse, fine, [&](std::int64_t to, std::int64_t from) {
        known[to] += 1 - fine.open[from];
        coarse.values[to] += (1 - fine.open[from]) * fine.values[from];
    });
    for (std::size_t i = 0; i < known.size(); ++i) {
        coarse.open[i] = known[i] == 0;
        if (known[i] > 0) coarse.values[i] /= known[i];
    }
    begin(coarse, scratch);
    add_from(coarse, fine);
    relax(fine, SWEEPS, scratch);
}

// A multigrid cycle: what smoothing leaves undone is smooth, and corrected on a coarser grid.
void correct(Grid &fine, std::vector<float> &scratch) {
    if (fine.is_coarsest()) return relax(fine, COARSEST_SWEEPS, scratch);
    relax(fine, SWEEPS, scratch);
    lack(fine, scratch.data());
    Grid coarse = fine.half();
    std::fill(coarse.open.begin(), coarse.open.end(), 1.0f);
    pair_cells(coarse, fine, [&](std::int64_t to, std::int64_t from) {
        coarse.force[to] += scratch[from];  // a mean of four, four times as strong at twice the step
        coarse.open[to] = std::min(coarse.open[to], fine.open[from]);
    });
    correct(coarse, scratch);
    add_from(coarse, fine);
    relax(fine, SWEEPS, scratch);
}

}  // namespace

void sample_lanczos(const float *picture, std::int64_t height, std::int64_t width,
                    const float *places, std::int64_t count, float *out) {
    static const Window window;
    sample_all(window, picture, height, width, places, count, out);
}

void sample_moved(const float *picture, std::int64_t height, std::int64_t width,
                  const float *moves, std::int64_t rows, std::int64_t columns, std::int64_t left,
                  std::int64_t top, float *out) {
    std::vector<float> places(2 * columns);
    for (std::int64_t y = top; y < top + rows; ++y, moves += 2 * columns, out += 4 * columns) {
        for (std::int64_t x = 0; x < columns; ++x) {
            places[2 * x] = static_cast<float>(left + x) + moves[2 * x];
            places[2 * x + 1] = static_cast<float>(y) + moves[2 * x + 1];
        }
        sample_lanczos(picture, height, width, places.data(), columns, out);
    }
}

void extend(float *values, const std::uint8_t *known, std::int64_t channels, std::int64_t height,
            std::int64_t width) {
    const std::int64_t cells = height * width;
    std::vector<float> scratch;
    for (std::int64_t c = 0; c < channels; ++c, values += cells) {
        Grid grid(height, width);
        for (std::int64_t i = 0; i < cells; ++i) {
            grid.open[i] = known[i] == 0;
            grid.values[i] = known[i] == 0 ? 0 : values[i];
        }
        begin(grid, scratch);
        for (int cycle = 0; cycle < CYCLES; ++cycle) correct(grid, scratch);
        std::copy(grid.values.begin(), grid.values.end(), values);
    }
}

}  // namespace sim3dr
