/* Products with quantized weights that stay packed in memory; activations and sums are fp32.
 *
 * A matrix [rows, columns] is cut into tiles of 16 rows, and a tile into groups of `group` columns. Within a group
 * every weight is q * scale[row] + minimum[row], so that for an activation x
 *     y[row] += scale[row] * sum_c(q[row, c] * x[c]) + minimum[row] * sum_c(x[c])
 * One vector holds one column of a tile, its 16 rows side by side: a weight is widened once for all tokens, and no
 * sum runs across a vector. GCC vectors of 16 floats become AVX-512, AVX2 or plain code; the clone that suits the
 * processor is chosen when the library is loaded.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 16 };

typedef float floats __attribute__((vector_size(4 * ROWS)));
typedef int32_t wholes __attribute__((vector_size(4 * ROWS)));
typedef uint8_t bytes __attribute__((vector_size(ROWS)));

typedef struct {
  const uint8_t *q;       /* nibbles: [tiles, columns / 2, ROWS], column c low and c + group / 2 high; bytes: q, signed */
  const float *scale;     /* [tiles, columns / group, ROWS] */
  const float *minimum;   /* the same, or NULL for zeros */
  size_t tiles, columns, group;
} matrix;

typedef struct {
  const float *x;         /* [tokens, columns] */
  const float *sums;      /* [tokens, columns / group] of x over each group; unused without minimum */
  float *y;               /* [tokens, y_stride] */
  size_t tokens, y_stride;
} product;

INLINE bytes load_bytes(const uint8_t *from) { bytes v; memcpy(&v, from, sizeof v); return v; }
INLINE floats load(const float *from) { floats v; memcpy(&v, from, sizeof v); return v; }
INLINE void store(float *to, floats v) { memcpy(to, &v, sizeof v); }
/* Unsigned, for GCC takes signed bytes apart one by one; a signed byte with its top bit turned is 128 higher. */
INLINE floats widen(bytes v) { return __builtin_convertvector(__builtin_convertvector(v, wholes), floats); }

/* Tile `tile` in fp32, transposed, to y [columns, tiles * ROWS]. */
INLINE void expand_tile(const matrix *w, float *y, size_t tile, const int nibbles) {
  const size_t group = w->group, groups = w->columns / group, stride = w->tiles * ROWS;
  const uint8_t *q = w->q + tile * w->columns * ROWS / (nibbles ? 2 : 1);
  for (size_t g = 0; g < groups; g++) {
    const size_t at = (tile * groups + g) * ROWS;
    const floats scale = load(w->scale + at), minimum = w->minimum ? load(w->minimum + at) : scale - scale;
    float *to = y + g * group * stride + tile * ROWS;
    for (size_t c = 0; c < (nibbles ? group / 2 : group); c++, q += ROWS) {
      if (nibbles) {
        bytes both = load_bytes(q);
        store(to + c * stride, widen(both & 15) * scale + minimum);
        store(to + (c + group / 2) * stride, widen(both >> 4) * scale + minimum);
      } else {
        store(to + c * stride, (widen(load_bytes(q) ^ 128) - 128) * scale + minimum);
      }
    }
  }
}

/* One tile and `tokens` tokens, a constant wherever this is inlined. */
INLINE void multiply_tile(const matrix *w, const product *p, size_t tile, size_t token, const int tokens, const int nibbles) {
  const size_t columns = w->columns, group = w->group, groups = columns / group;
  const uint8_t *q = w->q + tile * columns * ROWS / (nibbles ? 2 : 1);
  const float *x = p->x + token * columns;
  floats y[4] = {0};
  for (size_t g = 0; g < groups; g++, x += group) {
    floats even[4] = {0}, odd[4] = {0};
    for (size_t c = 0; c < group / 2; c++) {
      floats first, second;
      const size_t next = nibbles ? c + group / 2 : 2 * c + 1, here = nibbles ? c : 2 * c;
      if (nibbles) {
        bytes both = load_bytes(q);
        first = widen(both & 15), second = widen(both >> 4);
        q += ROWS;
      } else {
        first = widen(load_bytes(q) ^ 128) - 128, second = widen(load_bytes(q + ROWS) ^ 128) - 128;
        q += 2 * ROWS;
      }
      for (int t = 0; t < tokens; t++) {
        even[t] += first * x[t * columns + here];
        odd[t] += second * x[t * columns + next];
      }
    }
    const size_t at = (tile * groups + g) * ROWS;
    const floats scale = load(w->scale + at);
    for (int t = 0; t < tokens; t++) {
      y[t] += (even[t] + odd[t]) * scale;
      if (w->minimum) y[t] += load(w->minimum + at) * p->sums[(token + t) * groups + g];
    }
  }
  for (int t = 0; t < tokens; t++) store(p->y + (token + t) * p->y_stride + tile * ROWS, y[t]);
}

INLINE void multiply(const matrix *w, const product *p, const int nibbles) {
  size_t token = 0;
  for (; token + 4 <= p->tokens; token += 4)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile(w, p, tile, token, 4, nibbles);
  for (; token + 2 <= p->tokens; token += 2)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile(w, p, tile, token, 2, nibbles);
  for (; token < p->tokens; token++)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile(w, p, tile, token, 1, nibbles);
}

CLONES void csps_multiply_nibbles(const matrix *w, const product *p) { multiply(w, p, 1); }
CLONES void csps_multiply_bytes(const matrix *w, const product *p) { multiply(w, p, 0); }

CLONES void csps_expand_nibbles(const matrix *w, float *y) {
  for (size_t tile = 0; tile < w->tiles; tile++) expand_tile(w, y, tile, 1);
}
CLONES void csps_expand_bytes(const matrix *w, float *y) {
  for (size_t tile = 0; tile < w->tiles; tile++) expand_tile(w, y, tile, 0);
}
