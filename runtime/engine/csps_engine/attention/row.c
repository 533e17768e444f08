/* Attention of one token's queries over the keys that one rank holds, in fp32, with log-sum-exp.
 *
 * Reading keys and values from memory is what bounds it, so every key and value is read once for the queries of its
 * group. The softmax is taken on the way: blocks of keys, and when a block holds a larger score than any before, what
 * was summed is scaled down.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../kernels/vectors.h"

enum { BLOCK = 64, MOST_SIZE = 256, MOST_GROUP = 8 };

typedef struct {
  const float *q;             /* [kv_heads, group, size], scaled */
  const float *k, *v;         /* [tokens, size] of each KV head, `head_stride` floats apart */
  float *out;                 /* [kv_heads, group, size] */
  float *lse;                 /* [kv_heads, group] */
  size_t kv_heads, group, size, tokens, head_stride;
} row;

/* What the queries of a group hold: `out` is a sum of values weighed by e^(score - top), `total` the sum of weights. */
typedef struct { const float *q; float *out, *top, *total; } held;

/* BLOCK keys at most. `size` and `group` are constants wherever this is inlined. */
INLINE void meet(held h, const float *k, const float *v, size_t tokens, const size_t size, const size_t group) {
  const float *q = h.q;
  float *out = h.out;
  float scores[MOST_GROUP][BLOCK] __attribute__((aligned(32)));
  for (size_t t = 0; t < tokens; t++) {
    floats dot[MOST_GROUP];
    for (size_t g = 0; g < group; g++) dot[g] = load(q + g * size) * load(k + t * size);
    for (size_t i = WIDTH; i < size; i += WIDTH) {
      const floats key = load(k + t * size + i);
      for (size_t g = 0; g < group; g++) dot[g] += load(q + g * size + i) * key;
    }
    for (size_t g = 0; g < group; g++) scores[g][t] = sum(dot[g]);
  }
  for (size_t g = 0; g < group; g++) {
    float largest = h.top[g];
    for (size_t t = 0; t < tokens; t++) largest = scores[g][t] > largest ? scores[g][t] : largest;
    for (size_t t = tokens; t < BLOCK; t++) scores[g][t] = -__builtin_inff();
    floats part = {0};
    for (size_t t = 0; t < BLOCK; t += WIDTH) {
      const floats weights = power(load(&scores[g][t]) - largest);
      store(&scores[g][t], weights);
      part += weights;
    }
    if (largest > h.top[g]) {
      const floats down = power((floats){0} + (h.top[g] - largest));
      h.total[g] *= down[0];
      for (size_t i = 0; i < size; i += WIDTH) store(out + g * size + i, load(out + g * size + i) * down[0]);
      h.top[g] = largest;
    }
    h.total[g] += sum(part);
  }
  for (size_t i = 0; i < size; i += 2 * WIDTH) {
    floats near[MOST_GROUP], far[MOST_GROUP];
    for (size_t g = 0; g < group; g++) near[g] = load(out + g * size + i), far[g] = load(out + g * size + i + WIDTH);
    for (size_t t = 0; t < tokens; t++) {
      const floats value = load(v + t * size + i), next = load(v + t * size + i + WIDTH);
      for (size_t g = 0; g < group; g++) near[g] += value * scores[g][t], far[g] += next * scores[g][t];
    }
    for (size_t g = 0; g < group; g++) store(out + g * size + i, near[g]), store(out + g * size + i + WIDTH, far[g]);
  }
}

INLINE void begin(held h, const size_t size, const size_t group) {
  for (size_t g = 0; g < group; g++) h.top[g] = -__builtin_inff(), h.total[g] = 0;
  memset(h.out, 0, group * size * sizeof *h.out);
}

INLINE void end(held h, float *lse, const size_t size, const size_t group) {
  for (size_t g = 0; g < group; g++) {
    for (size_t i = 0; i < size; i += WIDTH)
      store(h.out + g * size + i, load(h.out + g * size + i) / h.total[g]);
    lse[g] = h.top[g] + __builtin_logf(h.total[g]);
  }
}

INLINE void attend_head(const row *a, size_t head, const size_t size, const size_t group) {
  const float *k = a->k + head * a->head_stride, *v = a->v + head * a->head_stride;
  float top[MOST_GROUP], total[MOST_GROUP];
  const held h = {a->q + head * group * size, a->out + head * group * size, top, total};
  begin(h, size, group);
  for (size_t first = 0; first < a->tokens; first += BLOCK, k += BLOCK * size, v += BLOCK * size)
    meet(h, k, v, a->tokens - first < BLOCK ? a->tokens - first : BLOCK, size, group);
  end(h, a->lse + head * group, size, group);
}

/* The same over listed blocks alone, each KV head of a row having a list of its own. */
typedef struct {
  const float *q;         /* [rows, kv_heads, group, size], scaled */
  const float *k, *v;     /* [tokens, size] of each KV head, `head_stride` floats apart */
  float *out;             /* [rows, kv_heads, group, size] */
  float *lse;             /* [rows, kv_heads, group] */
  const int32_t *listed;  /* [rows, kv_heads, width]: block b is tokens b * block_tokens and on */
  const int32_t *lengths; /* [rows, kv_heads] tokens: all blocks that are read are full but the last */
  size_t rows, kv_heads, group, size, width, block_tokens, head_stride;
} chosen;

INLINE void attend_list(const chosen *a, size_t list, const size_t size, const size_t group) {
  const float *k = a->k + list % a->kv_heads * a->head_stride, *v = a->v + list % a->kv_heads * a->head_stride;
  const int32_t *block = a->listed + list * a->width;
  float top[MOST_GROUP], total[MOST_GROUP], *lse = a->lse + list * group;
  const held h = {a->q + list * group * size, a->out + list * group * size, top, total};
  begin(h, size, group);
  if (a->lengths[list] == 0) {
    for (size_t g = 0; g < group; g++) lse[g] = -__builtin_inff();
    return;
  }
  for (size_t left = a->lengths[list]; left > 0;) {
    const size_t from = (size_t)*block * a->block_tokens;
    size_t tokens = 0;
    /* Neighbours are met together. */
    do tokens += left - tokens < a->block_tokens ? left - tokens : a->block_tokens, block++;
    while (tokens < left && tokens + a->block_tokens <= BLOCK && block[0] == block[-1] + 1);
    meet(h, k + from * size, v + from * size, tokens, size, group);
    left -= tokens;
  }
  end(h, lse, size, group);
}

/* Sizes that are no multiple of 16 or too large, and larger groups, are refused: 0. */
CLONES int csps_attend_row(const row *a) {
  if (a->size % (2 * WIDTH) || a->size > MOST_SIZE || a->group > MOST_GROUP || a->group < 1 || a->tokens < 1) return 0;
  for (size_t head = 0; head < a->kv_heads; head++) {
    if (a->size == 64 && a->group == 3) attend_head(a, head, 64, 3);
    else if (a->size == 64 && a->group == 4) attend_head(a, head, 64, 4);
    else if (a->size == 128 && a->group == 4) attend_head(a, head, 128, 4);
    else if (a->size == 128 && a->group == 8) attend_head(a, head, 128, 8);
    else attend_head(a, head, a->size, a->group);
  }
  return 1;
}

/* As above; blocks must be of BLOCK tokens or fewer. */
CLONES int csps_attend_chosen(const chosen *a) {
  if (a->size % (2 * WIDTH) || a->size > MOST_SIZE || a->group > MOST_GROUP || a->group < 1) return 0;
  if (a->block_tokens < 1 || a->block_tokens > BLOCK) return 0;
  for (size_t list = 0; list < a->rows * a->kv_heads; list++) {
    if (a->size == 64 && a->group == 3) attend_list(a, list, 64, 3);
    else if (a->size == 64 && a->group == 4) attend_list(a, list, 64, 4);
    else if (a->size == 128 && a->group == 4) attend_list(a, list, 128, 4);
    else if (a->size == 128 && a->group == 8) attend_list(a, list, 128, 8);
    else attend_list(a, list, a->size, a->group);
  }
  return 1;
}
