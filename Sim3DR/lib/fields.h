// Fields over a picture: moving its pixels by one, and extending one over where it is unknown.
// They know nothing of Python and are safe for any float values. Arrays are C-contiguous.
#pragma once

#include <cstdint>

namespace sim3dr {

// out (count, 4): the picture (height, width, 4) at places (count, 2), x and y in pixels with
// centres at integers, interpolated by a Lanczos window of three pixels' radius. Beyond its
// border, the picture continues as it ends there. At whole numbers it is given back exactly;
// places that are no number are taken for 0.
void sample_lanczos(const float *picture, std::int64_t height, std::int64_t width,
                    const float *places, std::int64_t count, float *out);

// out (rows, columns, 4): the picture at the place of each pixel, of which the first is at left and
// top, plus moves (rows, columns, 2); otherwise as sample_lanczos.
void sample_moved(const float *picture, std::int64_t height, std::int64_t width,
                  const float *moves, std::int64_t rows, std::int64_t columns, std::int64_t left,
                  std::int64_t top, float *out);

// Solve Laplace's equation where a field is not known. values (channels, height, width): read
// where known (height, width) is not 0, filled in elsewhere; nothing crosses the border.
// Approximate: a fixed number of multigrid cycles (Brandt 1977) leaves about a hundredth.
void extend(float *values, const std::uint8_t *known, std::int64_t channels, std::int64_t height,
            std::int64_t width);

}  // namespace sim3dr
