/* Vectors of 8 floats, which GCC makes AVX2 or plain code of, and what is often done with them. */
#ifndef CSPS_VECTORS_H
#define CSPS_VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

enum { WIDTH = 8 };

typedef float floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t wholes __attribute__((vector_size(4 * WIDTH)));

INLINE floats load(const float *from) { floats v; memcpy(&v, from, sizeof v); return v; }
INLINE void store(float *to, floats v) { memcpy(to, &v, sizeof v); }
INLINE floats choose(wholes mask, floats a, floats b) { return (floats)((mask & (wholes)a) | (~mask & (wholes)b)); }

/* Element i of a vector beside element i + 4, + 2, + 1 of it. */
#define HALVES(v) __builtin_shuffle(v, (wholes){4, 5, 6, 7, 0, 1, 2, 3})
#define PAIRS(v) __builtin_shuffle(v, (wholes){2, 3, 0, 1, 6, 7, 4, 5})
#define NEXT(v) __builtin_shuffle(v, (wholes){1, 0, 3, 2, 5, 4, 7, 6})

INLINE float sum(floats v) {
  v += HALVES(v);
  v += PAIRS(v);
  return v[0] + v[1];
}

/* e^x for x <= 0, within 2e-7 of the result, and 0 below e^-87: 2^n times a polynomial, as in the Cephes library. */
INLINE floats power(floats x) {
  const floats least = (floats){0} - 87.0f;
  const wholes above = x > least;
  x = choose(above, x, least);
  const floats turned = x * 1.44269504f - 0.5f;
  const wholes n = __builtin_convertvector(turned, wholes);  /* towards zero, and turned is negative: rounds */
  const floats whole = __builtin_convertvector(n, floats);
  const floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return (floats)(above & ((wholes)p + (n << 23)));
}

#endif
