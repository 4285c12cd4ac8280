/* Neighborhood attention on CPUs, forward and backward. Plain C with the vector extensions of GCC and Clang:
 * no headers of torch or Python; kernel.py calls it through ctypes.
 *
 * A job is a band of rows of one plane (one image, one head) forward, and a whole plane backward. No two jobs
 * write to one place, so results do not depend on who takes which job, nor on how many threads there are.
 * Queries go in pairs, one below the other: they share all key rows but two. For a pair at column x:
 *
 *   scores   a window row is K neighbouring columns, so keys are kept transposed, (D, W) for each row: one load
 *            holds the window row's values of one channel, with no sum across a vector. (products)
 *   output   each key's row of values, times its weight, into registers. (weigh)
 *   dk, dv   each key's row of gradients, plus weight times the query or its gradient, once a pair. (scatter)
 *
 * Only the K + 1 rows that a pair sees are kept, in a ring, in float32. Windows are shifted at borders, clipped
 * on maps that are smaller: start = clamp(i - K / 2, 0, n - min(K, n)). The bias index is key - query + K - 1.
 *
 * The lower half of this file is compiled once for each instruction set; the machine chooses when it runs. */

#ifndef BODY

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ABI 1 /* kernel.py refuses a library with another number: it was built from another version */

typedef struct {
    int64_t batch, row, column, head; /* in elements; channels are always neighbours */
} Strides;

typedef struct {
    void *data; /* (batch, height, width, heads, dim) float32 or bfloat16 */
    Strides strides;
} Map;

typedef struct {
    Map q, k, v, out, d_out, dq, dk, dv;
    float *lse;        /* (batch, heads, height, width): log of the sum of exp of the scores */
    const float *bias; /* (heads, 2K - 1, 2K - 1), or NULL */
    float *d_bias;     /* (batch, heads, 2K - 1, 2K - 1), or NULL */
    int64_t batch, height, width, heads, dim, window;
    int64_t band;         /* rows of a forward job, even */
    int64_t instructions; /* 0 plain, 1 AVX2, 2 AVX-512 */
    int64_t half;         /* 0 float32, 1 bfloat16 */
    int64_t next;         /* the first job that nobody has taken */
    int64_t failed;       /* set where memory ran out */
    double scale;
} Task;

typedef float Floats __attribute__((vector_size(32)));
typedef float Loose __attribute__((vector_size(32), aligned(4))); /* anywhere in memory */
typedef int32_t Ints __attribute__((vector_size(32)));
typedef uint16_t Halves __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(32)));
#define LANES 8
#define INLINE static inline __attribute__((always_inline))
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

static int64_t start_of(int64_t i, int64_t length, int64_t window)
{
    int64_t last = length - (window < length ? window : length), start = i - window / 2;
    return start < 0 ? 0 : start > last ? last : start;
}

/* Everything that a job keeps: rings of rows, and rows of the pair at hand. */
typedef struct {
    const Task *task;
    int64_t b, h;                 /* the plane */
    int64_t high, wide;           /* window, clipped to the map */
    int64_t padded, pitch;        /* channels, and columns of a transposed row, with their padding */
    int64_t vectors;              /* that hold one window row */
    int64_t ring, filled, flushed; /* rows that are kept; the next row to read, and to write */
    float *keys, *values;         /* (ring, width, padded) */
    float *keys_t, *values_t;     /* (ring, dim, pitch) */
    float *d_keys, *d_values;     /* (ring, width, padded) */
    float *queries, *d_outs;      /* (2, width, padded), queries times scale */
    float *deltas;                /* (2, width): sum of d_out * out */
    int64_t *lines, *turns;       /* (ring): where the rows that a pair sees lie in the rings */
    float *bias, *d_bias;         /* (2K - 1, 2K - 1), with padding before and after */
    Floats *scores, *products;    /* (2 columns, 2 rows of queries, ring, vectors) */
    void *memory;
} Plane;

/* Two neighbouring rows of queries, y and y + 1; together they see the rows top to top + count - 1. */
typedef struct {
    int64_t y, top, count;
    int two; /* the last row of an odd band stands alone */
} Pair;

static char *carve(char *at, void *pointer, int64_t bytes)
{
    memcpy(pointer, &at, sizeof at);
    return at + ROUND_UP(bytes, 64);
}

/* Lay the arrays out at `at`, a whole number of cache lines; return their bytes. */
static int64_t lay_out(Plane *p, char *at, int backward)
{
    const Task *t = p->task;
    char *first = at;
    int64_t side = 2 * t->window - 1, line = t->width * p->padded * 4;
    int64_t rows = p->ring * line, turned = p->ring * t->dim * p->pitch * 4;
    int64_t scores = 4 * p->ring * p->vectors * (int64_t)sizeof(Floats);
    at = carve(at, &p->keys, rows);
    at = carve(at, &p->values, rows);
    at = carve(at, &p->keys_t, turned);
    at = carve(at, &p->lines, p->ring * (int64_t)sizeof(int64_t));
    at = carve(at, &p->turns, p->ring * (int64_t)sizeof(int64_t));
    at = carve(at, &p->queries, 2 * line);
    at = carve(at, &p->bias, (side * side + (2 + p->vectors) * LANES) * 4);
    at = carve(at, &p->scores, scores);
    if (backward) {
        at = carve(at, &p->values_t, turned);
        at = carve(at, &p->d_keys, rows);
        at = carve(at, &p->d_values, rows);
        at = carve(at, &p->d_outs, 2 * line);
        at = carve(at, &p->deltas, 2 * t->width * 4);
        at = carve(at, &p->d_bias, (side * side + (2 + p->vectors) * LANES) * 4);
        at = carve(at, &p->products, scores);
    }
    return at - first;
}

static int open_plane(Plane *p, const Task *t, int backward)
{
    memset(p, 0, sizeof *p);
    p->task = t;
    p->high = t->window < t->height ? t->window : t->height;
    p->wide = t->window < t->width ? t->window : t->width;
    p->padded = ROUND_UP(t->dim, LANES);
    p->vectors = ROUND_UP(p->wide, LANES) / LANES;
    p->pitch = (ROUND_UP(t->width + LANES, 16) / 16 | 1) * 16; /* an odd number of cache lines: they spread */
    p->ring = p->high + 1;
    int64_t bytes = lay_out(p, (char *)64, backward);
    p->memory = malloc((size_t)bytes + 64);
    if (p->memory == NULL)
        return 0;
    memset(p->memory, 0, (size_t)bytes + 64);
    lay_out(p, (char *)ROUND_UP((uintptr_t)p->memory, 64), backward);
    p->bias += LANES;
    p->d_bias += LANES;
    return 1;
}

#define BODY

/* Keeps a vector that is used twice in its register: GCC would rather load it twice. */
#define HOLD(x)
#define ROWS 1 /* of keys that are multiplied at a time: as many as the registers hold */
#define NAME(name) name##_plain
#include "neighborhood.c"
#undef NAME

#if defined(__x86_64__)
#define CHOICES 1
#undef HOLD
#define HOLD(x) __asm__("" : "+x"(x))
#undef ROWS
#define ROWS 2
#define NAME(name) name##_avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include "neighborhood.c"
#undef NAME
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")
#endif
#undef ROWS
#define ROWS 4
#define NAME(name) name##_avx512
#include "neighborhood.c"
#undef NAME
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#define EXPORT __attribute__((visibility("default")))

EXPORT int64_t na_abi(void) { return ABI * 1000 + (int64_t)sizeof(Task); }

/* The best instruction set that this machine has, as in Task. */
EXPORT int64_t na_best(void)
{
#ifdef CHOICES
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return 2;
    return 1;
#else
    return 0;
#endif
}

/* Any number of threads call these with one Task; each takes jobs until there are none. */
EXPORT void na_forward(Task *task)
{
#ifdef CHOICES
    if (task->instructions == 2) {
        forward_avx512(task);
        return;
    }
    if (task->instructions == 1) {
        forward_avx2(task);
        return;
    }
#endif
    forward_plain(task);
}

EXPORT void na_backward(Task *task)
{
#ifdef CHOICES
    if (task->instructions == 2) {
        backward_avx512(task);
        return;
    }
    if (task->instructions == 1) {
        backward_avx2(task);
        return;
    }
#endif
    backward_plain(task);
}

#else /* BODY: compiled for each instruction set */

INLINE Floats NAME(load)(const float *at) { return *(const Loose *)at; }
INLINE void NAME(store)(float *at, Floats x) { *(Loose *)at = x; }

INLINE Floats NAME(all)(float x) { return (Floats){x, x, x, x, x, x, x, x}; }

INLINE Floats NAME(choose)(Ints where, Floats a, Floats b)
{
    return (Floats)(((Ints)a & where) | ((Ints)b & ~where));
}

/* exp for x <= 0 or so, to one unit in the last place; 0 below -87; NaN stays NaN. Coefficients of Cephes. */
INLINE Floats NAME(exponential)(Floats x)
{
    Ints tiny = x < -87.0f;
    Floats magic = NAME(all)(12582912.0f); /* 1.5 * 2^23: adding it rounds to whole numbers */
    Floats moved = x * 1.44269504f + magic, n = moved - magic;
    Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + (r + 1.0f);
    Ints power = ((Ints)moved << 23) + (127 << 23);
    return (Floats)((Ints)(y * (Floats)power) & ~tiny);
}

INLINE float NAME(sum)(Floats x)
{
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

INLINE float NAME(maximum)(Floats x)
{
    float most = x[0];
    for (int i = 1; i < LANES; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* --- reading and writing maps --- */

INLINE int64_t NAME(offset)(const Plane *p, const Map *map, int64_t y)
{
    return p->b * map->strides.batch + p->h * map->strides.head + y * map->strides.row;
}

/* One row of a map, (width, padded) float32. */
static void NAME(read_row)(const Plane *p, const Map *map, int64_t y, float scale, float *to)
{
    int64_t dim = p->task->dim, first = NAME(offset)(p, map, y);
    for (int64_t x = 0; x < p->task->width; x++, to += p->padded) {
        int64_t at = first + x * map->strides.column, d = 0;
        if (p->task->half) {
            const uint16_t *from = (const uint16_t *)map->data + at;
            for (; d + LANES <= dim; d += LANES) {
                Halves bits;
                memcpy(&bits, from + d, sizeof bits);
                NAME(store)(to + d, (Floats)(__builtin_convertvector(bits, Words) << 16) * scale);
            }
            for (; d < dim; d++) {
                uint32_t word = (uint32_t)from[d] << 16;
                memcpy(to + d, &word, sizeof word);
                to[d] *= scale;
            }
        } else {
            const float *from = (const float *)map->data + at;
            for (; d + LANES <= dim; d += LANES)
                NAME(store)(to + d, NAME(load)(from + d) * scale);
            for (; d < dim; d++)
                to[d] = from[d] * scale;
        }
    }
}

/* bfloat16 rounds to nearest, ties to even; a NaN stays one. */
INLINE void NAME(write_channels)(const Task *t, const Map *map, int64_t at, int64_t d, Floats x)
{
    int64_t count = t->dim - d < LANES ? t->dim - d : LANES;
    if (t->half) {
        Words bits = (Words)x, nan = (Words)(x != x);
        bits = (((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) & ~nan) | (nan & 0x7fc0);
        Halves halves = __builtin_convertvector(bits, Halves);
        memcpy((uint16_t *)map->data + at + d, &halves, (size_t)count * 2);
    } else if (count == LANES)
        NAME(store)((float *)map->data + at + d, x);
    else
        memcpy((float *)map->data + at + d, &x, (size_t)count * 4);
}

static void NAME(write_row)(const Plane *p, const Map *map, int64_t y, const float *from)
{
    int64_t first = NAME(offset)(p, map, y);
    for (int64_t x = 0; x < p->task->width; x++, from += p->padded)
        for (int64_t d = 0; d < p->task->dim; d += LANES)
            NAME(write_channels)(p->task, map, first + x * map->strides.column, d, NAME(load)(from + d));
}

/* (width, padded) to (dim, pitch), in blocks of 8 x 8 while they fit. */
static void NAME(transpose)(const Plane *p, const float *from, float *to)
{
    int64_t dim = p->task->dim, width = p->task->width;
    for (int64_t x = 0; x < width; x += LANES)
        for (int64_t d = 0; d < dim; d += LANES) {
            int64_t right = width - x < LANES ? width : x + LANES, below = dim - d < LANES ? dim : d + LANES;
            for (int64_t i = d; i < below; i++)
                for (int64_t j = x; j < right; j++)
                    to[i * p->pitch + j] = from[j * p->padded + i];
        }
}

/* --- the rings --- */

INLINE int64_t NAME(line)(const Plane *p, int64_t y) { return y % p->ring * p->task->width * p->padded; }
INLINE int64_t NAME(turned)(const Plane *p, int64_t y) { return y % p->ring * p->task->dim * p->pitch; }

/* Write the gradients of all rows above `end`, which no later query sees. */
static void NAME(flush)(Plane *p, int64_t end)
{
    size_t bytes = (size_t)(p->task->width * p->padded) * 4;
    for (; p->flushed < end; p->flushed++) {
        float *d_keys = p->d_keys + NAME(line)(p, p->flushed);
        float *d_values = p->d_values + NAME(line)(p, p->flushed);
        NAME(write_row)(p, &p->task->dk, p->flushed, d_keys);
        NAME(write_row)(p, &p->task->dv, p->flushed, d_values);
        memset(d_keys, 0, bytes);
        memset(d_values, 0, bytes);
    }
}

/* Read the keys and values that a pair sees, where they are not there yet. */
static void NAME(fill)(Plane *p, const Pair *pair, int backward)
{
    for (int64_t i = 0; i < pair->count; i++) {
        p->lines[i] = NAME(line)(p, pair->top + i);
        p->turns[i] = NAME(turned)(p, pair->top + i);
    }
    for (; p->filled < pair->top + pair->count; p->filled++) {
        float *keys = p->keys + NAME(line)(p, p->filled), *values = p->values + NAME(line)(p, p->filled);
        NAME(read_row)(p, &p->task->k, p->filled, 1.0f, keys);
        NAME(read_row)(p, &p->task->v, p->filled, 1.0f, values);
        NAME(transpose)(p, keys, p->keys_t + NAME(turned)(p, p->filled));
        if (backward)
            NAME(transpose)(p, values, p->values_t + NAME(turned)(p, p->filled));
    }
}

/* --- a pair of queries at one column --- */

/* Scores of the four queries against `rows` window rows from `first` on, `at` being the vector's first column. */
INLINE void NAME(some_products)(const Plane *p, int rows, const float *turned, int64_t first, int64_t at,
                                const float *const *queries, Floats *to)
{
    const float *from[ROWS], *a = queries[0], *b = queries[1], *c = queries[2], *d = queries[3];
    Floats sums[4][ROWS];
    for (int i = 0; i < rows; i++) {
        from[i] = turned + p->turns[first + i] + at;
        sums[0][i] = sums[1][i] = sums[2][i] = sums[3][i] = NAME(all)(0.0f);
    }
    for (int64_t channel = 0, shift = 0; channel < p->task->dim; channel++, shift += p->pitch)
        for (int i = 0; i < rows; i++) {
            Floats near = NAME(load)(from[i] + shift);
            HOLD(near);
            sums[0][i] += near * NAME(all)(a[channel]);
            sums[1][i] += near * NAME(all)(b[channel]);
            sums[2][i] += near * NAME(all)(c[channel]);
            sums[3][i] += near * NAME(all)(d[channel]);
        }
    for (int query = 0; query < 4; query++)
        for (int i = 0; i < rows; i++)
            to[(query * p->ring + i) * p->vectors] = sums[query][i];
}

INLINE void NAME(products)(const Plane *p, const Pair *pair, const float *turned, int64_t column,
                           const float *const *queries, Floats *to)
{
    for (int64_t c = 0; c < p->vectors; c++) {
        int64_t i = 0, at = column + c * LANES;
        for (; i + ROWS <= pair->count; i += ROWS)
            NAME(some_products)(p, ROWS, turned, i, at, queries, to + i * p->vectors + c);
        for (; i < pair->count; i++)
            NAME(some_products)(p, 1, turned, i, at, queries, to + i * p->vectors + c);
    }
}

/* Sums of weight times row, for `chunks` vectors of channels and the queries a, b or both. */
INLINE void NAME(some_weighed)(const Plane *p, int chunks, int first, int last, const float *ring, int64_t from,
                               int64_t to, int64_t at, const float *weights, Floats (*sums)[4])
{
    int64_t pitch = p->vectors * LANES;
    const float *second = weights + p->ring * pitch;
    for (int64_t i = from; i < to; i++) {
        const float *row = ring + p->lines[i] + at;
        for (int64_t j = 0; j < p->wide; j++, row += p->padded) {
            Floats x = NAME(all)(weights[i * pitch + j]), z = NAME(all)(second[i * pitch + j]);
            for (int c = 0; c < chunks; c++) {
                Floats near = NAME(load)(row + c * LANES);
                HOLD(near);
                if (first)
                    sums[0][c] += x * near;
                if (last)
                    sums[1][c] += z * near;
            }
        }
    }
}

INLINE void NAME(weigh_chunks)(const Plane *p, int chunks, const Pair *pair, const float *ring,
                               int64_t column, int64_t x, int64_t d, const float *weights,
                               const float *factors, const Map *to)
{
    Floats sums[2][4];
    for (int c = 0; c < chunks; c++)
        sums[0][c] = sums[1][c] = NAME(all)(0.0f);
    int64_t own = pair->count - p->high, at = column * p->padded + d; /* rows that only one query sees */
    if (pair->two) {
        NAME(some_weighed)(p, chunks, 1, 0, ring, 0, own, at, weights, sums);
        NAME(some_weighed)(p, chunks, 1, 1, ring, own, p->high, at, weights, sums);
        NAME(some_weighed)(p, chunks, 0, 1, ring, p->high, pair->count, at, weights, sums);
    } else
        NAME(some_weighed)(p, chunks, 1, 0, ring, 0, p->high, at, weights, sums);
    for (int query = 0; query <= pair->two; query++) {
        int64_t place = NAME(offset)(p, to, pair->y + query) + x * to->strides.column;
        for (int c = 0; c < chunks; c++)
            NAME(write_channels)(p->task, to, place, d + c * LANES, sums[query][c] * factors[query]);
    }
}

/* Write the sums of weight times a ring's rows, times a factor for each query, at column x. */
INLINE void NAME(weigh)(const Plane *p, const Pair *pair, const float *ring, int64_t column, int64_t x,
                        const float *weights, const float *factors, const Map *to)
{
    int64_t d = 0;
    for (; d + 4 * LANES <= p->padded; d += 4 * LANES)
        NAME(weigh_chunks)(p, 4, pair, ring, column, x, d, weights, factors, to);
    for (; d + 2 * LANES <= p->padded; d += 2 * LANES)
        NAME(weigh_chunks)(p, 2, pair, ring, column, x, d, weights, factors, to);
    if (d < p->padded)
        NAME(weigh_chunks)(p, 1, pair, ring, column, x, d, weights, factors, to);
}

INLINE void NAME(some_scattered)(const Plane *p, int chunks, int first, int last, float *ring, int64_t from,
                                 int64_t to, int64_t at, const float *weights, const float *a,
                                 const float *b)
{
    int64_t pitch = p->vectors * LANES;
    const float *second = weights + p->ring * pitch;
    Floats of_a[4], of_b[4];
    for (int c = 0; c < chunks; c++) {
        of_a[c] = NAME(load)(a + c * LANES);
        of_b[c] = NAME(load)(b + c * LANES);
    }
    for (int64_t i = from; i < to; i++) {
        float *row = ring + p->lines[i] + at;
        for (int64_t j = 0; j < p->wide; j++, row += p->padded) {
            Floats x = NAME(all)(weights[i * pitch + j]), z = NAME(all)(second[i * pitch + j]);
            for (int c = 0; c < chunks; c++) {
                Floats near = NAME(load)(row + c * LANES);
                if (first)
                    near += x * of_a[c];
                if (last)
                    near += z * of_b[c];
                NAME(store)(row + c * LANES, near);
            }
        }
    }
}

INLINE void NAME(scatter_chunks)(const Plane *p, int chunks, const Pair *pair, float *ring,
                                 int64_t column, int64_t d, const float *weights, const float *a,
                                 const float *b)
{
    int64_t own = pair->count - p->high, at = column * p->padded + d;
    a += d;
    b += d;
    if (pair->two) {
        NAME(some_scattered)(p, chunks, 1, 0, ring, 0, own, at, weights, a, b);
        NAME(some_scattered)(p, chunks, 1, 1, ring, own, p->high, at, weights, a, b);
        NAME(some_scattered)(p, chunks, 0, 1, ring, p->high, pair->count, at, weights, a, b);
    } else
        NAME(some_scattered)(p, chunks, 1, 0, ring, 0, p->high, at, weights, a, b);
}

/* Add weight times a (of the upper query) and b (of the lower) to the ring's rows. */
INLINE void NAME(scatter)(const Plane *p, const Pair *pair, float *ring, int64_t column,
                          const float *weights, const float *a, const float *b)
{
    int64_t d = 0;
    for (; d + 4 * LANES <= p->padded; d += 4 * LANES)
        NAME(scatter_chunks)(p, 4, pair, ring, column, d, weights, a, b);
    for (; d + 2 * LANES <= p->padded; d += 2 * LANES)
        NAME(scatter_chunks)(p, 2, pair, ring, column, d, weights, a, b);
    if (d < p->padded)
        NAME(scatter_chunks)(p, 1, pair, ring, column, d, weights, a, b);
}

/* Two columns of a pair's queries share the vectors that begin at the first one's window: the windows differ
 * by `shift` = 0 or 1 columns, and an odd window leaves a lane free for it. */
typedef struct {
    int64_t x, column, shift;
    int second; /* which of the two columns */
} NAME(Spot);

INLINE NAME(Spot) NAME(spot_at)(const Plane *p, int64_t x, int second)
{
    NAME(Spot) spot = {.x = x + second, .second = second};
    spot.column = start_of(x, p->task->width, p->task->window);
    spot.shift = start_of(spot.x, p->task->width, p->task->window) - spot.column;
    return spot;
}

/* Which lanes of vector c belong to the window. */
INLINE Ints NAME(inside)(const Plane *p, const NAME(Spot) * spot, int64_t c)
{
    Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    lanes += (int32_t)(c * LANES - spot->shift);
    return (lanes >= 0) & (lanes < (int32_t)p->wide);
}

/* Where the bias of a query for the first vector of a row lies; -1 at least, so there is padding before it. */
INLINE int64_t NAME(bias_at)(const Plane *p, const NAME(Spot) * spot, int64_t row, int64_t y)
{
    int64_t middle = p->task->window - 1;
    return (row - y + middle) * (2 * middle + 1) + spot->column - spot->x + middle;
}

/* The first score of a query: `lower` is which of the two rows. */
INLINE int64_t NAME(place)(const Plane *p, const Pair *pair, const NAME(Spot) * spot, int lower)
{
    return ((2 * spot->second + lower) * p->ring + (lower ? pair->count - p->high : 0)) * p->vectors;
}

/* Turn the scores of one query into exp(score - maximum); return the log and the inverse of their sum. */
INLINE void NAME(soften)(Plane *p, const Pair *pair, const NAME(Spot) * spot, int lower, float *lse,
                         float *inverse)
{
    int64_t first = pair->top + (lower ? pair->count - p->high : 0), side = 2 * p->task->window - 1;
    Floats *scores = p->scores + NAME(place)(p, pair, spot, lower);
    Floats nothing = NAME(all)(-INFINITY), peak = nothing, sums = NAME(all)(0.0f);
    for (int64_t c = 0; c < p->vectors; c++) {
        Ints inside = NAME(inside)(p, spot, c);
        const float *bias = p->bias + c * LANES + NAME(bias_at)(p, spot, first, pair->y + lower);
        for (int64_t i = 0; i < p->high; i++, bias += side) {
            Floats score = scores[i * p->vectors + c];
            if (p->task->bias)
                score += NAME(load)(bias);
            score = NAME(choose)(inside, score, nothing);
            peak = NAME(choose)(score > peak, score, peak);
            scores[i * p->vectors + c] = score;
        }
    }
    float most = NAME(maximum)(peak);
    for (int64_t i = 0; i < p->high * p->vectors; i++) {
        scores[i] = NAME(exponential)(scores[i] - most);
        sums += scores[i];
    }
    float total = NAME(sum)(sums);
    *lse = most + logf(total);
    *inverse = 1.0f / total;
}

/* Scores, and products d_out . v, of one query become gradients of the scores, and weights. */
INLINE void NAME(unsoften)(Plane *p, const Pair *pair, const NAME(Spot) * spot, int lower, float lse, float delta)
{
    int64_t first = pair->top + (lower ? pair->count - p->high : 0), side = 2 * p->task->window - 1;
    Floats *scores = p->scores + NAME(place)(p, pair, spot, lower);
    Floats *products = p->products + NAME(place)(p, pair, spot, lower);
    for (int64_t c = 0; c < p->vectors; c++) {
        Ints inside = NAME(inside)(p, spot, c);
        int64_t at = c * LANES + NAME(bias_at)(p, spot, first, pair->y + lower);
        for (int64_t i = 0; i < p->high; i++, at += side) {
            Floats score = scores[i * p->vectors + c];
            if (p->task->bias)
                score += NAME(load)(p->bias + at);
            Floats weight = NAME(exponential)(score - lse);
            Floats slope = weight * (products[i * p->vectors + c] - delta);
            slope = (Floats)((Ints)slope & inside);
            scores[i * p->vectors + c] = slope;
            products[i * p->vectors + c] = weight;
            if (p->task->d_bias)
                NAME(store)(p->d_bias + at, NAME(load)(p->d_bias + at) + slope);
        }
    }
}

INLINE Pair NAME(pair_at)(const Plane *p, int64_t y, int64_t end)
{
    const Task *t = p->task;
    Pair pair = {.y = y, .two = y + 1 < end};
    pair.top = start_of(y, t->height, t->window);
    pair.count = start_of(y + pair.two, t->height, t->window) + p->high - pair.top;
    return pair;
}

/* The rows of the four queries at x and x + 1, in the order of their scores; at the last column of an odd
 * width the second two repeat the first, and their scores are not used. */
INLINE void NAME(four)(const Plane *p, const float *rows, int64_t x, const float **to)
{
    const float *first = rows + x * p->padded, *lower = first + p->task->width * p->padded;
    int64_t step = x + 1 < p->task->width ? p->padded : 0;
    to[0] = first;
    to[1] = lower;
    to[2] = first + step;
    to[3] = lower + step;
}

static void NAME(forward_pair)(Plane *p, const Pair *pair)
{
    const Task *t = p->task;
    const float *queries[4];
    NAME(fill)(p, pair, 0);
    for (int lower = 0; lower <= pair->two; lower++)
        NAME(read_row)(p, &t->q, pair->y + lower, (float)t->scale, p->queries + lower * t->width * p->padded);
    float *lse = t->lse + ((p->b * t->heads + p->h) * t->height + pair->y) * t->width;
    for (int64_t x = 0; x < t->width; x += 2) {
        NAME(four)(p, p->queries, x, queries);
        NAME(products)(p, pair, p->keys_t, start_of(x, t->width, t->window), queries, p->scores);
        for (int second = 0; second < 2 && x + second < t->width; second++) {
            NAME(Spot) spot = NAME(spot_at)(p, x, second);
            const float *weights = (const float *)(p->scores + 2 * second * p->ring * p->vectors) + spot.shift;
            float factors[2];
            for (int lower = 0; lower <= pair->two; lower++)
                NAME(soften)(p, pair, &spot, lower, lse + lower * t->width + spot.x, factors + lower);
            NAME(weigh)(p, pair, p->values, spot.column + spot.shift, spot.x, weights, factors, &t->out);
        }
    }
}

/* deltas = sum over channels of d_out * out, for one row. */
static void NAME(read_gradients)(Plane *p, int64_t y, int query)
{
    const Task *t = p->task;
    float *d_outs = p->d_outs + query * t->width * p->padded, *outs = p->queries;
    NAME(read_row)(p, &t->out, y, 1.0f, outs); /* the queries are read after it */
    NAME(read_row)(p, &t->d_out, y, 1.0f, d_outs);
    for (int64_t x = 0; x < t->width; x++) {
        Floats sums = NAME(all)(0.0f);
        for (int64_t d = x * p->padded; d < (x + 1) * p->padded; d += LANES)
            sums += NAME(load)(outs + d) * NAME(load)(d_outs + d);
        p->deltas[query * t->width + x] = NAME(sum)(sums);
    }
}

static void NAME(backward_pair)(Plane *p, const Pair *pair)
{
    const Task *t = p->task;
    NAME(flush)(p, pair->top);
    NAME(fill)(p, pair, 1);
    for (int query = 0; query <= pair->two; query++)
        NAME(read_gradients)(p, pair->y + query, query);
    for (int query = 0; query <= pair->two; query++)
        NAME(read_row)(p, &t->q, pair->y + query, (float)t->scale, p->queries + query * t->width * p->padded);
    const float *lse = t->lse + ((p->b * t->heads + p->h) * t->height + pair->y) * t->width;
    const float factors[2] = {(float)t->scale, (float)t->scale}, *queries[4], *d_outs[4];
    for (int64_t x = 0; x < t->width; x += 2) {
        int64_t column = start_of(x, t->width, t->window);
        NAME(four)(p, p->queries, x, queries);
        NAME(four)(p, p->d_outs, x, d_outs);
        NAME(products)(p, pair, p->keys_t, column, queries, p->scores);
        NAME(products)(p, pair, p->values_t, column, d_outs, p->products);
        for (int second = 0; second < 2 && x + second < t->width; second++) {
            NAME(Spot) spot = NAME(spot_at)(p, x, second);
            int64_t own = column + spot.shift, skip = 2 * second * p->ring * p->vectors;
            const float *slopes = (const float *)(p->scores + skip) + spot.shift;
            const float *weights = (const float *)(p->products + skip) + spot.shift;
            for (int lower = 0; lower <= pair->two; lower++) {
                int64_t at = lower * t->width + spot.x;
                NAME(unsoften)(p, pair, &spot, lower, lse[at], p->deltas[at]);
            }
            NAME(weigh)(p, pair, p->keys, own, spot.x, slopes, factors, &t->dq);
            NAME(scatter)(p, pair, p->d_keys, own, slopes, queries[2 * second], queries[2 * second + 1]);
            NAME(scatter)(p, pair, p->d_values, own, weights, d_outs[2 * second], d_outs[2 * second + 1]);
        }
    }
}

static void NAME(forward)(Task *t)
{
    Plane p;
    int64_t bands = (t->height + t->band - 1) / t->band, job, side = 2 * t->window - 1;
    if (!open_plane(&p, t, 0)) {
        t->failed = 1;
        return;
    }
    while ((job = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->batch * t->heads * bands) {
        int64_t y = job % bands * t->band, end = y + t->band < t->height ? y + t->band : t->height;
        p.b = job / bands / t->heads;
        p.h = job / bands % t->heads;
        p.filled = start_of(y, t->height, t->window);
        if (t->bias)
            memcpy(p.bias, t->bias + p.h * side * side, (size_t)(side * side) * 4);
        for (; y < end; y += 2) {
            Pair pair = NAME(pair_at)(&p, y, end);
            NAME(forward_pair)(&p, &pair);
        }
    }
    free(p.memory);
}

static void NAME(backward)(Task *t)
{
    Plane p;
    int64_t job, side = 2 * t->window - 1;
    if (!open_plane(&p, t, 1)) {
        t->failed = 1;
        return;
    }
    while ((job = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->batch * t->heads) {
        p.b = job / t->heads;
        p.h = job % t->heads;
        p.filled = p.flushed = 0;
        if (t->bias)
            memcpy(p.bias, t->bias + p.h * side * side, (size_t)(side * side) * 4);
        if (t->d_bias)
            memset(p.d_bias, 0, (size_t)(side * side) * 4);
        for (int64_t y = 0; y < t->height; y += 2) {
            Pair pair = NAME(pair_at)(&p, y, t->height);
            NAME(backward_pair)(&p, &pair);
        }
        NAME(flush)(&p, t->height);
        if (t->d_bias)
            memcpy(t->d_bias + job * side * side, p.d_bias, (size_t)(side * side) * 4);
    }
    free(p.memory);
}

#endif
