/* Attention of prompt queries over listed blocks of keys, in fp32, with log-sum-exp, added to what the queries hold.
 *
 * Every tile of queries has a list of blocks for each head, or for the heads of each KV head, all of whose keys its
 * queries see. Four (query, head) rows at a time meet one block: their scores, and unless all of these are too small
 * beside what the rows hold already, the sum of values weighed by them. Blocks are transposed beforehand, so that a
 * row times 16 keys needs no sum across a vector.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "../kernels/vectors.h"

enum { BLOCK = 32, ROWS = 4 };

typedef struct {
  const float *q;             /* [tokens, heads, size] */
  float *out, *lse;           /* [tokens, heads, size] and [tokens, heads]: what is held, then with the listed keys */
  const float *k, *v;         /* [rows, size] */
  const int32_t *row, *count; /* [blocks] first row and number of rows, BLOCK at most */
  const int32_t *begin, *end; /* [lists, tiles] into `listed` */
  const int32_t *listed;
  float *keys;                /* room for [blocks, size, BLOCK] */
  float *tile;                /* room for [tile_tokens * heads / lists + ROWS, 2 * size + 2] */
  size_t tokens, heads, lists, size, blocks, tile_tokens;
  float scale;
  float least;                /* a row's weights below e^least of the largest that it holds may be left out */
} listed;

INLINE floats larger(floats a, floats b) { return choose(a > b, a, b); }

INLINE float largest(const float *scores) {
  floats most = load(scores);
  for (int t = WIDTH; t < BLOCK; t += WIDTH) most = larger(most, load(scores + t));
  most = larger(most, HALVES(most));
  most = larger(most, PAIRS(most));
  return larger(most, NEXT(most))[0];
}

/* c += a [ROWS, a_stride] times b [depth, b_stride], 16 columns of it. */
INLINE void multiply(const float *a, size_t a_stride, const float *b, size_t b_stride, size_t depth, floats c[ROWS][2]) {
#pragma GCC unroll 4
  for (size_t d = 0; d < depth; d++) {
    const floats near = load(b + d * b_stride), far = load(b + d * b_stride + WIDTH);
    for (int r = 0; r < ROWS; r++) {
      const float x = a[r * a_stride + d];
      c[r][0] += near * x;
      c[r][1] += far * x;
    }
  }
}

/* What ROWS rows hold: `out` is a sum of values weighed by e^(score - top), `total` the sum of these weights. */
typedef struct { float *q, *out, *top, *total; } held;

INLINE void meet(const listed *a, int32_t block, held h, const size_t size) {
  const float *k = a->keys + (size_t)block * size * BLOCK, *v = a->v + (size_t)a->row[block] * size;
  const int count = a->count[block];
  float scores[ROWS][BLOCK] __attribute__((aligned(32))), most[ROWS];
  for (size_t half = 0; half < BLOCK; half += 2 * WIDTH) {
    floats c[ROWS][2] = {0};
    multiply(h.q, size, k + half, BLOCK, size, c);
    for (int r = 0; r < ROWS; r++) store(&scores[r][half], c[r][0]), store(&scores[r][half + WIDTH], c[r][1]);
  }
  for (int t = count; t < BLOCK; t++)
    for (int r = 0; r < ROWS; r++) scores[r][t] = -__builtin_inff();
  int matters = 0;
  for (int r = 0; r < ROWS; r++) {
    most[r] = largest(scores[r]);
    matters |= most[r] >= h.top[r] + a->least;
  }
  if (!matters) return;
  for (int r = 0; r < ROWS; r++) {
    if (most[r] > h.top[r]) {
      const float down = power((floats){0} + (h.top[r] - most[r]))[0];
      h.total[r] *= down;
      for (size_t i = 0; i < size; i += WIDTH) store(h.out + r * size + i, load(h.out + r * size + i) * down);
      h.top[r] = most[r];
    }
    floats part = {0};
    for (int t = 0; t < BLOCK; t += WIDTH) {
      const floats weights = power(load(&scores[r][t]) - h.top[r]);
      store(&scores[r][t], weights);
      part += weights;
    }
    h.total[r] += sum(part);
  }
  for (size_t i = 0; i < size; i += 2 * WIDTH) {
    floats c[ROWS][2];
    for (int r = 0; r < ROWS; r++) c[r][0] = load(h.out + r * size + i), c[r][1] = load(h.out + r * size + i + WIDTH);
    if (count == BLOCK) multiply(scores[0], BLOCK, v + i, size, BLOCK, c);
    else multiply(scores[0], BLOCK, v + i, size, count, c);
    for (int r = 0; r < ROWS; r++) store(h.out + r * size + i, c[r][0]), store(h.out + r * size + i + WIDTH, c[r][1]);
  }
}

INLINE void attend_tile(const listed *a, size_t tile, size_t list, const size_t size) {
  const size_t tiles = (a->tokens + a->tile_tokens - 1) / a->tile_tokens, group = a->heads / a->lists;
  const int32_t *from = a->listed + a->begin[list * tiles + tile], *to = a->listed + a->end[list * tiles + tile];
  if (from == to) return;
  const size_t start = tile * a->tile_tokens, left = a->tokens - start;
  const size_t rows = (left < a->tile_tokens ? left : a->tile_tokens) * group, padded = (rows + ROWS - 1) / ROWS * ROWS;
  float *q = a->tile, *out = q + padded * size, *top = out + padded * size, *total = top + padded;
  for (size_t r = 0; r < padded; r++) {
    const size_t at = (start + r / group) * a->heads + list * group + r % group;
    top[r] = r < rows ? a->lse[at] : 0, total[r] = 1;
    for (size_t i = 0; i < size; i += WIDTH) {
      store(q + r * size + i, r < rows ? load(a->q + at * size + i) * a->scale : (floats){0});
      store(out + r * size + i, r < rows ? load(a->out + at * size + i) : (floats){0});
    }
  }
  for (; from < to; from++)
    for (size_t r = 0; r < padded; r += ROWS) {
      const held h = {q + r * size, out + r * size, top + r, total + r};
      meet(a, *from, h, size);
    }
  for (size_t r = 0; r < rows; r++) {
    const size_t at = (start + r / group) * a->heads + list * group + r % group;
    for (size_t i = 0; i < size; i += WIDTH) store(a->out + at * size + i, load(out + r * size + i) / total[r]);
    a->lse[at] = top[r] + logf(total[r]);
  }
}

INLINE void transpose(const listed *a) {
  for (size_t block = 0; block < a->blocks; block++) {
    const float *from = a->k + (size_t)a->row[block] * a->size;
    float *to = a->keys + block * a->size * BLOCK;
    const int count = a->count[block];
    for (size_t i = 0; i < a->size; i++)
      for (int t = 0; t < BLOCK; t++) to[i * BLOCK + t] = t < count ? from[t * a->size + i] : 0;
  }
}

/* Sizes that are no multiple of 16 are refused: 0. */
CLONES int csps_attend_listed(const listed *a) {
  if (a->size % (2 * WIDTH) || a->heads % a->lists) return 0;
  transpose(a);
  for (size_t list = 0; list < a->lists; list++)
    for (size_t tile = 0; tile * a->tile_tokens < a->tokens; tile++) {
      if (a->size == 64) attend_tile(a, tile, list, 64);
      else if (a->size == 128) attend_tile(a, tile, list, 128);
      else attend_tile(a, tile, list, a->size);
    }
  return 1;
}
