/* Choice of key blocks for single queries by the blocks' digests, in fp32: `block_choice` in Python holds the formulas.
 *
 * Digests are read where they lie, once for the queries of a KV head's group.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../kernels/vectors.h"

enum { MOST_GROUP = 8, SCALE_BYTES = 4 };

typedef int8_t bytes __attribute__((vector_size(WIDTH)));

typedef struct {
  const int64_t *slots, *count; /* [rows, pages] and [rows]: of full pages */
  const uint8_t *always;        /* [rows, pages] pages that are read whatever they weigh */
  const int64_t *tail_slot, *tail_tokens; /* [rows] of the page that grows; no tokens where another rank has it */
  size_t rows, pages, kv_heads, group, blocks, block_tokens;
} held;

typedef struct {
  held held;
  const float *q;            /* [rows, kv_heads, group, size], scaled */
  const int8_t *digests;     /* [slots, blocks, kv_heads, 2 * size + SCALE_BYTES] */
  float *expected, *bound;   /* [rows, kv_heads, group, pages * blocks] */
  size_t size;
  float log_tokens, spread;
} scoring;

typedef struct {
  held held;
  const float *expected, *bound;
  const float *floor;        /* [rows, kv_heads, group] */
  int32_t *listed, *lengths; /* [rows, kv_heads, (pages + 1) * blocks] and [rows, kv_heads] */
  float *left;               /* [rows, kv_heads, group] */
  int64_t *read;             /* [rows] */
} choosing;

INLINE floats widen(const int8_t *from) { bytes v; memcpy(&v, from, sizeof v); return __builtin_convertvector(v, floats); }
INLINE floats size_of(floats x) { return (floats)((wholes)x & 0x7fffffff); }

INLINE void score_block(const scoring *a, size_t row, size_t head, size_t column, const int8_t *digest,
                        const size_t size, const size_t group) {
  const size_t columns = a->held.pages * a->held.blocks, first = (row * a->held.kv_heads + head) * group;
  const float *q = a->q + first * size;
  floats centre[MOST_GROUP], reach[MOST_GROUP], spread[MOST_GROUP];
  for (size_t g = 0; g < group; g++) centre[g] = reach[g] = spread[g] = (floats){0};
  for (size_t i = 0; i < size; i += WIDTH) {
    const floats low = widen(digest + i), high = widen(digest + size + i);
    const floats middle = (high + low) * 0.5f, half = (high - low) * 0.5f;
    for (size_t g = 0; g < group; g++) {
      const floats x = load(q + g * size + i), wide = size_of(x) * half;
      centre[g] += x * middle, reach[g] += wide, spread[g] += wide * wide;
    }
  }
  float scale;
  memcpy(&scale, digest + 2 * size, sizeof scale);
  for (size_t g = 0; g < group; g++) {
    const float near = sum(centre[g]) * scale + a->log_tokens, far = sum(reach[g]) * scale;
    const float likely = sum(spread[g]) * scale * scale * a->spread;
    a->expected[(first + g) * columns + column] = near + (likely < far ? likely : far);
    a->bound[(first + g) * columns + column] = near + far;
  }
}

INLINE void score_row(const scoring *a, size_t row, const size_t size, const size_t group) {
  const held *h = &a->held;
  const size_t bytes_each = 2 * size + SCALE_BYTES, columns = h->pages * h->blocks;
  for (size_t column = 0; column < (size_t)h->count[row] * h->blocks; column++) {
    const size_t block = h->slots[row * h->pages + column / h->blocks] * h->blocks + column % h->blocks;
    for (size_t head = 0; head < h->kv_heads; head++)
      score_block(a, row, head, column, a->digests + (block * h->kv_heads + head) * bytes_each, size, group);
  }
  for (size_t r = row * h->kv_heads * group; r < (row + 1) * h->kv_heads * group; r++)
    for (size_t column = h->count[row] * h->blocks; column < columns; column++)
      a->expected[r * columns + column] = a->bound[r * columns + column] = -__builtin_inff();
}

/* Sizes that are no multiple of 8 and larger groups are refused: 0. */
CLONES int csps_score_blocks(const scoring *a) {
  const size_t group = a->held.group;
  if (a->size % WIDTH || group < 1 || group > MOST_GROUP) return 0;
  for (size_t row = 0; row < a->held.rows; row++) {
    if (a->size == 64 && group == 3) score_row(a, row, 64, 3);
    else if (a->size == 128 && group == 4) score_row(a, row, 128, 4);
    else score_row(a, row, a->size, group);
  }
  return 1;
}

CLONES int csps_choose_blocks(const choosing *a) {
  const held *h = &a->held;
  const size_t columns = h->pages * h->blocks, width = columns + h->blocks, group = h->group;
  if (group < 1 || group > MOST_GROUP) return 0;
  for (size_t row = 0; row < h->rows; row++) {
    a->read[row] = 0;
    for (size_t head = 0; head < h->kv_heads; head++) {
      const size_t list = row * h->kv_heads + head, first = list * group;
      int32_t *listed = a->listed + list * width;
      float most[MOST_GROUP], rest[MOST_GROUP];
      size_t taken = 0;
      for (size_t g = 0; g < group; g++) most[g] = -__builtin_inff(), rest[g] = 0;
      for (size_t column = 0; column < (size_t)h->count[row] * h->blocks; column++) {
        const size_t page = row * h->pages + column / h->blocks;
        int takes = h->always[page];
        for (size_t g = 0; g < group; g++)
          takes |= a->expected[(first + g) * columns + column] >= a->floor[first + g];
        if (takes) {
          listed[taken++] = (int32_t)(h->slots[page] * h->blocks + column % h->blocks);
          continue;
        }
        for (size_t g = 0; g < group; g++) {
          const float bound = a->bound[(first + g) * columns + column];
          if (bound <= most[g]) rest[g] += expf(bound - most[g]);
          else rest[g] = rest[g] * expf(most[g] - bound) + 1, most[g] = bound;
        }
      }
      a->read[row] += taken;
      a->lengths[list] = (int32_t)(taken * h->block_tokens + h->tail_tokens[row]);
      for (size_t b = 0; b < h->blocks; b++) listed[taken + b] = (int32_t)(h->tail_slot[row] * h->blocks + b);
      for (size_t g = 0; g < group; g++) a->left[first + g] = rest[g] > 0 ? most[g] + logf(rest[g]) : -__builtin_inff();
    }
  }
  return 1;
}
