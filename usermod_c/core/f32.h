/* What the float32 files of the core share: the kinds of layers behind the calls of f32_layers.c,
 * each as tinc_f32_run(), _propagate() and _update() in internal.h. */
#ifndef TINYINC_F32_H
#define TINYINC_F32_H

#include "internal.h"

/* ---- f32_conv.c ---- */

void tinc_f32_conv(tinc_work *work, uint32_t l, const float *in, float *out, const tinc_rows *rows);
void tinc_f32_conv_propagate(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);
void tinc_f32_conv_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);

void tinc_f32_depthwise(tinc_work *work, uint32_t l, const float *in, float *out,
                        const tinc_rows *rows);
void tinc_f32_depthwise_propagate(tinc_work *work, uint32_t l, const uint16_t *list,
                                  uint32_t listed);
void tinc_f32_depthwise_update(tinc_work *work, uint32_t l, const uint16_t *list, uint32_t listed);

/* ---- f32_pool.c ---- */

void tinc_f32_max_pool(tinc_work *work, uint32_t l, const float *in, float *out,
                       const tinc_rows *rows);
void tinc_f32_max_pool_propagate(tinc_work *work, uint32_t l);

void tinc_f32_average_pool(tinc_work *work, uint32_t l, const float *in, float *out,
                           const tinc_rows *rows);
void tinc_f32_average_pool_propagate(tinc_work *work, uint32_t l);

void tinc_f32_add(tinc_work *work, uint32_t l, const float *in, float *out);
void tinc_f32_add_propagate(tinc_work *work, uint32_t l);

/* ---- f32_layers.c ---- */

/* What a layer takes, when it is differentiated: NULL when its values are gone by then, because no
 * weight is trained by them; the mask of the layer before then tells which may have been not 0. */
const void *tinc_f32_kept_input(const tinc_work *work, uint32_t l);

/* The least magnitude of an input by which a weight is trained: the rule may skip small ones. */
float tinc_f32_least_input(const tinc_work *work, uint32_t l, const float *input);

/* ---- f32_dense.c ---- */

/* Is any value NaN, or larger in magnitude than the bound? */
int tinc_any_beyond(const float *x, uint32_t n, float bound);

/* y += a[0] x[0] + a[1] x[1] on several rows: row r of y, and of each x, starts r * its step
 * further.
 */
void tinc_axpy_rows(float *y, uint32_t y_step, const float a[2], const float *const x[2],
                    uint32_t x_step, uint32_t n, uint32_t rows);

/* Row list[i] - first of w, each `stride` long, += a delta[list[i]] x. */
void tinc_axpy_units(float *w, uint32_t stride, float a, const float *delta, const uint16_t *list,
                     uint32_t listed, uint32_t first, const float *x, uint32_t n);

/* out = the larger of out and values, of n channels; `winners`, where there are, note the tap where
 * that is the latter: of equals the first one wins. */
void tinc_take_larger(float *out, uint8_t *winners, const float *values, uint32_t n, uint32_t tap);

/* ---- f32_rules.c ---- */

/* Local error Y: the sum of magnitudes of a gradient. */
float tinc_f32_error(const float *delta, uint32_t n);

#endif
