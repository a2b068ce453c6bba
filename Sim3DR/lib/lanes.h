// Four floats, or eight, worked on at once: vector extensions where the compiler has them (gcc and clang
// on any processor), plain loops elsewhere.
#pragma once

#include <cstdint>
#include <cstring>

namespace sim3dr {

constexpr int LANES = 4;

#if defined(__GNUC__)

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef float Twice __attribute__((vector_size(8 * LANES)));  // two Floats, one after the other
typedef std::int32_t Mask __attribute__((vector_size(4 * LANES)));

inline Floats select(Mask mask, Floats a, Floats b) { return mask ? a : b; }

#else

struct Floats {
    float lane[LANES];
};
struct Mask {
    bool lane[LANES];
};

template <typename Result, typename Operand, typename F>
Result by_lane(Operand a, Operand b, F f) {
    Result result;
    for (int k = 0; k < LANES; ++k) result.lane[k] = f(a.lane[k], b.lane[k]);
    return result;
}

inline Floats operator+(Floats a, Floats b) {
    return by_lane<Floats>(a, b, [](float x, float y) { return x + y; });
}
inline Floats operator-(Floats a, Floats b) {
    return by_lane<Floats>(a, b, [](float x, float y) { return x - y; });
}
inline Floats operator*(Floats a, Floats b) {
    return by_lane<Floats>(a, b, [](float x, float y) { return x * y; });
}
inline Mask operator>(Floats a, Floats b) {
    return by_lane<Mask>(a, b, [](float x, float y) { return x > y; });
}
inline Mask operator>=(Floats a, Floats b) {
    return by_lane<Mask>(a, b, [](float x, float y) { return x >= y; });
}
inline Mask operator&(Mask a, Mask b) {
    return by_lane<Mask>(a, b, [](bool x, bool y) { return x && y; });
}
inline Floats select(Mask mask, Floats a, Floats b) {
    for (int k = 0; k < LANES; ++k) b.lane[k] = mask.lane[k] ? a.lane[k] : b.lane[k];
    return b;
}

struct Twice {
    Floats half[2];
};
inline Twice operator+(Twice a, Twice b) {
    return {{a.half[0] + b.half[0], a.half[1] + b.half[1]}};
}
inline Twice operator*(Twice a, Twice b) {
    return {{a.half[0] * b.half[0], a.half[1] * b.half[1]}};
}

#endif

inline Floats all(float value) { return Floats{value, value, value, value}; }

inline Floats load(const float *from) {
    Floats value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
inline void store(Floats value, float *to) { std::memcpy(to, &value, sizeof value); }

inline Twice all_twice(float value) {
    return Twice{value, value, value, value, value, value, value, value};
}
inline Twice load_twice(const float *from) {
    Twice value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
inline Floats sum_of_halves(Twice value) {
    float lane[2 * LANES];
    std::memcpy(lane, &value, sizeof value);
    return load(lane) + load(lane + LANES);
}

}  // namespace sim3dr
