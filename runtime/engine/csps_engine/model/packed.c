/* Products with quantized weights that stay packed in memory; activations and results are fp32.
 *
 * A matrix [rows, columns] is cut into tiles of 16 rows, and a tile into groups of `group` columns. Within a group
 * every weight is q * scale[row] + minimum[row], so that for an activation x
 *     y[row] += scale[row] * sum_c(q[row, c] * x[c]) + minimum[row] * sum_c(x[c])
 * One vector holds one column of a tile, its 16 rows side by side: a weight is widened once for all tokens, and no
 * sum runs across a vector. GCC vectors of 16 floats become AVX-512, AVX2 or plain code; the clone that suits the
 * processor is chosen when the library is loaded.
 *
 * With AVX2 the sum over a group is one of whole numbers: a token's activations are rounded to 16 bits of the group's
 * largest, two columns of a row are multiplied and added at once, and no sum can overflow. What is lost is below one
 * in 65,000 of the largest activation, a hundredth of what activations of 8 bits lose.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define WIDE __attribute__((target("avx2,fma")))
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

CLONES static void multiply_nibbles(const matrix *w, const product *p) { multiply(w, p, 1); }
CLONES static void multiply_bytes(const matrix *w, const product *p) { multiply(w, p, 0); }

#if defined(__x86_64__)
enum { LARGEST_GROUP = 64, MOST = 32767 };

/* A token's activations as whole numbers, in the order in which pairs of columns are multiplied. */
static void round_token(const matrix *w, const float *x, int16_t *whole, float *step, const int nibbles) {
  const size_t group = w->group, half = group / 2;
  for (size_t g = 0; g < w->columns / group; g++, x += group, whole += group) {
    float largest = 0;
    for (size_t c = 0; c < group; c++) largest = __builtin_fmaxf(largest, __builtin_fabsf(x[c]));
    step[g] = largest / MOST;
    const float per = largest > 0 ? MOST / largest : 0;
    for (size_t c = 0; c < half; c++) {
      whole[2 * c] = (int16_t)__builtin_rintf(x[nibbles ? c : 2 * c] * per);
      whole[2 * c + 1] = (int16_t)__builtin_rintf(x[nibbles ? c + half : 2 * c + 1] * per);
    }
  }
}

/* Adds the products of two columns of 16 rows, `pairs` holding them row by row, with one token's pair. */
#define ADD_PAIR(t, c) do { \
    int32_t two; \
    memcpy(&two, from + (t) * columns + 2 * (c), sizeof two); \
    const __m256i both = _mm256_set1_epi32(two); \
    low[t] = _mm256_add_epi32(low[t], _mm256_madd_epi16(first, both)); \
    high[t] = _mm256_add_epi32(high[t], _mm256_madd_epi16(second, both)); \
  } while (0)

WIDE static inline __attribute__((always_inline)) void multiply_tile_wide(
    const matrix *w, const product *p, const int16_t *whole, const float *step, size_t tile, size_t token,
    const int tokens, const int nibbles) {
  const size_t columns = w->columns, group = w->group, groups = columns / group;
  const uint8_t *q = w->q + tile * columns * ROWS / (nibbles ? 2 : 1);
  const int16_t *from = whole + token * columns;
  const __m128i mask = _mm_set1_epi8(15);
  __m256 y[4][2];
  for (int t = 0; t < tokens; t++) y[t][0] = y[t][1] = _mm256_setzero_ps();
  for (size_t g = 0; g < groups; g++, from += group) {
    __m256i low[4], high[4];
    for (int t = 0; t < tokens; t++) low[t] = high[t] = _mm256_setzero_si256();
    for (size_t c = 0; c < group / 2; c++) {
      __m128i a = _mm_loadu_si128((const __m128i *)q), b;
      if (nibbles) {
        b = _mm_and_si128(_mm_srli_epi16(a, 4), mask), a = _mm_and_si128(a, mask);
        q += ROWS;
      } else {
        b = _mm_loadu_si128((const __m128i *)(q + ROWS));
        q += 2 * ROWS;
      }
      const __m256i first = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
      const __m256i second = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b));
      for (int t = 0; t < tokens; t++) ADD_PAIR(t, c);
    }
    const size_t at = (tile * groups + g) * ROWS;
    const __m256 scale[2] = {_mm256_loadu_ps(w->scale + at), _mm256_loadu_ps(w->scale + at + 8)};
    for (int t = 0; t < tokens; t++) {
      const __m256 unit = _mm256_set1_ps(step[(token + t) * groups + g]);
      y[t][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(low[t]), _mm256_mul_ps(unit, scale[0]), y[t][0]);
      y[t][1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(high[t]), _mm256_mul_ps(unit, scale[1]), y[t][1]);
      if (w->minimum) {
        const __m256 sum = _mm256_set1_ps(p->sums[(token + t) * groups + g]);
        y[t][0] = _mm256_fmadd_ps(_mm256_loadu_ps(w->minimum + at), sum, y[t][0]);
        y[t][1] = _mm256_fmadd_ps(_mm256_loadu_ps(w->minimum + at + 8), sum, y[t][1]);
      }
    }
  }
  for (int t = 0; t < tokens; t++)
    for (int part = 0; part < 2; part++)
      _mm256_storeu_ps(p->y + (token + t) * p->y_stride + tile * ROWS + 8 * part, y[t][part]);
}

/* False where there is no memory for the rounded activations. */
WIDE static inline __attribute__((always_inline)) int multiply_wide(
    const matrix *w, const product *p, const int nibbles) {
  const size_t groups = w->columns / w->group;
  int16_t *whole = malloc(p->tokens * (w->columns * sizeof *whole + groups * sizeof(float)) + 1);
  if (!whole) return 0;
  float *step = (float *)(whole + p->tokens * w->columns);
  for (size_t t = 0; t < p->tokens; t++)
    round_token(w, p->x + t * w->columns, whole + t * w->columns, step + t * groups, nibbles);
  size_t token = 0;
  for (; token + 4 <= p->tokens; token += 4)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile_wide(w, p, whole, step, tile, token, 4, nibbles);
  for (; token + 2 <= p->tokens; token += 2)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile_wide(w, p, whole, step, tile, token, 2, nibbles);
  for (; token < p->tokens; token++)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile_wide(w, p, whole, step, tile, token, 1, nibbles);
  free(whole);
  return 1;
}

WIDE static int multiply_nibbles_wide(const matrix *w, const product *p) { return multiply_wide(w, p, 1); }
WIDE static int multiply_bytes_wide(const matrix *w, const product *p) { return multiply_wide(w, p, 0); }

static int is_wide(const matrix *w) {
  return w->group <= LARGEST_GROUP && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
static int multiply_nibbles_wide(const matrix *w, const product *p) { return 0; }
static int multiply_bytes_wide(const matrix *w, const product *p) { return 0; }
static int is_wide(const matrix *w) { return 0; }
#endif

void csps_multiply_nibbles(const matrix *w, const product *p) {
  if (!is_wide(w) || !multiply_nibbles_wide(w, p)) multiply_nibbles(w, p);
}
void csps_multiply_bytes(const matrix *w, const product *p) {
  if (!is_wide(w) || !multiply_bytes_wide(w, p)) multiply_bytes(w, p);
}

CLONES void csps_expand_nibbles(const matrix *w, float *y) {
  for (size_t tile = 0; tile < w->tiles; tile++) expand_tile(w, y, tile, 1);
}
CLONES void csps_expand_bytes(const matrix *w, float *y) {
  for (size_t tile = 0; tile < w->tiles; tile++) expand_tile(w, y, tile, 0);
}
