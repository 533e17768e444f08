/* Root-mean-square norm of few tokens in fp32; torch takes several calls for one, and decode many norms for a token. */
#include <stddef.h>

#include "../kernels/vectors.h"

enum { PARTS = 8 };

/* y = x * weight / sqrt(mean of x^2 + epsilon), token by token. */
CLONES void csps_rms_norm(const float *x, const float *weight, float *y, size_t tokens, size_t columns, float epsilon) {
  for (size_t t = 0; t < tokens; t++, x += columns, y += columns) {
    double squares[PARTS] = {0}, sum = 0;
    size_t c = 0;
    for (; c + PARTS <= columns; c += PARTS)
      for (size_t part = 0; part < PARTS; part++) squares[part] += (double)x[c + part] * x[c + part];
    for (; c < columns; c++) sum += (double)x[c] * x[c];
    for (size_t part = 0; part < PARTS; part++) sum += squares[part];
    const float scale = (float)(1 / __builtin_sqrt(sum / (double)columns + epsilon));
    for (c = 0; c < columns; c++) y[c] = x[c] * scale * weight[c];
  }
}
