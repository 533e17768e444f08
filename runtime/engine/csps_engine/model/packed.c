/* Products with quantized weights that stay packed in memory; activations and results are fp32.
 *
 * A matrix [rows, columns] is cut into tiles of 16 rows, and a tile into groups of `group` columns. Within a group
 * every weight is q * scale[row] + minimum[row], so that for an activation x
 *     y[row] += scale[row] * sum_c(q[row, c] * x[c]) + minimum[row] * sum_c(x[c])
 * One vector holds one column of a tile, its 16 rows side by side: a weight is widened once for all tokens, and no
 * sum runs across a vector. GCC vectors of 16 floats become AVX-512, AVX2 or plain code; the clone that suits the
 * processor is chosen when the library is loaded.
 *
 * With AVX2 the sum over a group is two of whole numbers: a token's activations are rounded to 16 bits of the group's
 * largest, and what the rounding left over to 16 bits more, so that no more is lost than fp32 itself loses. Two columns
 * of a row are multiplied and added at once, and no sum can overflow.
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
  float *y;               /* [tokens, y_stride] */
  size_t tokens, y_stride, adds;  /* adds: to what is in y, in place of writing over it */
  const float *sums;      /* [tokens, columns / group] of x over each group, made here; unused without minimum */
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
  for (int t = 0; t < tokens; t++) {
    float *to = p->y + (token + t) * p->y_stride + tile * ROWS;
    store(to, p->adds ? load(to) + y[t] : y[t]);
  }
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

/* A token's activations in whole numbers, in the order in which pairs of columns are multiplied: x is near
 * step * (whole + rest / (2 MOST)). */
typedef struct {
  int16_t *whole, *rest;  /* [tokens, columns] */
  float *step;            /* [tokens, columns / group] */
} rounded;

static void round_token(const matrix *w, const float *x, const rounded *r, size_t token, const int nibbles) {
  const size_t group = w->group, half = group / 2, groups = w->columns / group;
  int16_t *whole = r->whole + token * w->columns, *rest = r->rest + token * w->columns;
  for (size_t g = 0; g < groups; g++, x += group, whole += group, rest += group) {
    float largest = 0;
    for (size_t c = 0; c < group; c++) largest = __builtin_fmaxf(largest, __builtin_fabsf(x[c]));
    r->step[token * groups + g] = largest / MOST;
    const float per = largest > 0 ? MOST / largest : 0;
    for (size_t c = 0; c < group; c++) {
      const float steps = x[nibbles ? (c % 2 ? half : 0) + c / 2 : c] * per, near = __builtin_rintf(steps);
      whole[c] = (int16_t)near;
      rest[c] = (int16_t)__builtin_rintf((steps - near) * (2 * MOST));
    }
  }
}

/* Adds the products of two columns of 16 rows, held row by row, with one token's pair. */
WIDE INLINE void add_pair(__m256i sum[2], __m256i first, __m256i second, const int16_t *pair) {
  int32_t two;
  memcpy(&two, pair, sizeof two);
  const __m256i both = _mm256_set1_epi32(two);
  sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(first, both));
  sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(second, both));
}

WIDE INLINE void multiply_tile_wide(
    const matrix *w, const product *p, const rounded *r, size_t tile, size_t token, const int tokens, const int nibbles) {
  const size_t columns = w->columns, group = w->group, groups = columns / group;
  const uint8_t *q = w->q + tile * columns * ROWS / (nibbles ? 2 : 1);
  const int16_t *whole = r->whole + token * columns, *rest = r->rest + token * columns;
  const __m128i mask = _mm_set1_epi8(15);
  __m256 y[2][2];
  for (int t = 0; t < tokens; t++) y[t][0] = y[t][1] = _mm256_setzero_ps();
  for (size_t g = 0; g < groups; g++, whole += group, rest += group) {
    __m256i near[2][2], left[2][2];
    for (int t = 0; t < tokens; t++) near[t][0] = near[t][1] = left[t][0] = left[t][1] = _mm256_setzero_si256();
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
      for (int t = 0; t < tokens; t++) {
        add_pair(near[t], first, second, whole + t * columns + 2 * c);
        add_pair(left[t], first, second, rest + t * columns + 2 * c);
      }
    }
    const size_t at = (tile * groups + g) * ROWS;
    for (int t = 0; t < tokens; t++)
      for (int part = 0; part < 2; part++) {
        const __m256 share = _mm256_set1_ps(1.0f / (2 * MOST));
        const __m256 steps =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(left[t][part]), share, _mm256_cvtepi32_ps(near[t][part]));
        const __m256 unit = _mm256_set1_ps(r->step[(token + t) * groups + g]);
        const __m256 scale = _mm256_loadu_ps(w->scale + at + 8 * part);
        y[t][part] = _mm256_fmadd_ps(steps, _mm256_mul_ps(unit, scale), y[t][part]);
        if (w->minimum) {
          const __m256 sum = _mm256_set1_ps(p->sums[(token + t) * groups + g]);
          y[t][part] = _mm256_fmadd_ps(_mm256_loadu_ps(w->minimum + at + 8 * part), sum, y[t][part]);
        }
      }
  }
  for (int t = 0; t < tokens; t++)
    for (int part = 0; part < 2; part++) {
      float *to = p->y + (token + t) * p->y_stride + tile * ROWS + 8 * part;
      _mm256_storeu_ps(to, p->adds ? _mm256_add_ps(_mm256_loadu_ps(to), y[t][part]) : y[t][part]);
    }
}

/* False where there is no memory for the rounded activations. */
WIDE INLINE int multiply_wide(const matrix *w, const product *p, const int nibbles) {
  const size_t groups = w->columns / w->group, all = p->tokens * w->columns;
  int16_t *room = malloc(2 * all * sizeof *room + p->tokens * groups * sizeof(float) + 1);
  if (!room) return 0;
  const rounded r = {room, room + all, (float *)(room + 2 * all)};
  for (size_t t = 0; t < p->tokens; t++) round_token(w, p->x + t * w->columns, &r, t, nibbles);
  size_t token = 0;
  for (; token + 2 <= p->tokens; token += 2)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile_wide(w, p, &r, tile, token, 2, nibbles);
  for (; token < p->tokens; token++)
    for (size_t tile = 0; tile < w->tiles; tile++) multiply_tile_wide(w, p, &r, tile, token, 1, nibbles);
  free(room);
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

/* With sums over groups where minima want them. 0 where there is no memory for those. */
INLINE int multiply_either(const matrix *w, product p, const int nibbles) {
  const size_t groups = w->columns / w->group;
  float *sums = NULL;
  if (w->minimum) {
    sums = malloc(p.tokens * groups * sizeof *sums + 1);
    if (!sums) return 0;
    for (size_t at = 0; at < p.tokens * groups; at++) {
      float parts[8] = {0};
      const float *x = p.x + at * w->group;
      for (size_t c = 0; c < w->group; c++) parts[c % 8] += x[c];
      sums[at] = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
    }
  }
  p.sums = sums;
  if (!is_wide(w) || !(nibbles ? multiply_nibbles_wide(w, &p) : multiply_bytes_wide(w, &p)))
    nibbles ? multiply_nibbles(w, &p) : multiply_bytes(w, &p);
  free(sums);
  return 1;
}

int csps_multiply_nibbles(const matrix *w, const product *p) { return multiply_either(w, *p, 1); }
int csps_multiply_bytes(const matrix *w, const product *p) { return multiply_either(w, *p, 0); }

CLONES void csps_expand_nibbles(const matrix *w, float *y) {
  for (size_t tile = 0; tile < w->tiles; tile++) expand_tile(w, y, tile, 1);
}
CLONES void csps_expand_bytes(const matrix *w, float *y) {
  for (size_t tile = 0; tile < w->tiles; tile++) expand_tile(w, y, tile, 0);
}
