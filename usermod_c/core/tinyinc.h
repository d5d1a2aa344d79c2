/* TinyInc core: neural networks that learn on a microcontroller, one sample at a time.
 *
 * Every call is a function over buffers that the caller owns. The core keeps nothing between calls,
 * allocates nothing, and needs no C library. A network is five buffers, the sections of an image
 * file (../SPEC.md); tinc_open() checks them and fills a view, and every other call works on a view
 * that was opened just before, because a caller may change a buffer at any time.
 *
 * Calls return TINC_OK or a negative tinc_error; net->fault then says what was wrong and where, and
 * tinc_describe() puts it in words. After an error no buffer but the scratch has changed.
 *
 * A network computes in float32 or in integers (q8), as its image says; the calls are the same. In
 * q8 no call uses floating point: figures, probabilities and settings are float32 by their bits.
 *
 * Units: samples enter the network normalised, x = clip((raw - input_offset) * input_scale), as
 * float32, or in q8 as int8 in steps of input_step, rounded, within -127..127.
 * A network may start with a front end, layers that never learn: tinc_extract() then turns a sample
 * into features, and every other call takes these in place of a sample, so that what is replayed
 * has passed it already. Without one the features are the sample.
 *
 * Classes, slots, layers and units count from 0. Images are height by width by channels. All values
 * are little-endian. */
#ifndef TINYINC_H
#define TINYINC_H

#include <stddef.h>
#include <stdint.h>

#define TINC_VERSION_MAJOR 1
#define TINC_VERSION_MINOR 2
#define TINC_MAX_SECTIONS 16
#define TINC_MAX_LAYERS 32
#define TINC_MAX_UNITS 65535 /* units of one layer, and values of one sample */
#define TINC_TEXT_BYTES 96   /* longest text of tinc_describe(), with its NUL */
#define TINC_NONE 0xFFFFFFFFu
#define TINC_RECENT 300u /* lessons for which a class that was taught counts as present */

typedef enum {
    TINC_OK = 0,
    TINC_E_ALIGNMENT = -1,
    TINC_E_TRUNCATED = -2,
    TINC_E_MAGIC = -3,
    TINC_E_VERSION = -4,
    TINC_E_STRUCTURE_CRC = -5,
    TINC_E_SECTION_CRC = -6,
    TINC_E_HEADER = -7,
    TINC_E_SECTION = -8,
    TINC_E_SECTION_UNKNOWN = -9,
    TINC_E_SECTION_BYTES = -10,
    TINC_E_LAYER_KIND = -11,
    TINC_E_LAYER_FIELD = -12,
    TINC_E_LAYER_CHAIN = -13,
    TINC_E_LAYER_BOUNDS = -14,
    TINC_E_FORMAT = -15,
    TINC_E_MEMORY = -16,
    TINC_E_STATE = -17,
    TINC_E_VALUE = -18,
    TINC_E_SCRATCH = -19,
    TINC_E_BUSY = -20,
    TINC_E_SAMPLE_SIZE = -21,
    TINC_E_SAMPLE_TYPE = -22,
    TINC_E_SAMPLE_VALUE = -23,
    TINC_E_CLASS = -24,
    TINC_E_LAYER = -25,
    TINC_E_UNIT = -26,
    TINC_E_CAPACITY = -27,
    TINC_E_SLOT = -28,
    TINC_E_ARGUMENT = -29,
    TINC_E_DIVERGED = -30,
    TINC_E_ARGUMENT_TYPE = -31,
    TINC_E_STAGE = -32,
    TINC_E_FRONT = -33
} tinc_error;

/* Arithmetic of a network. A core built with -DTINYINC_F32=0 has q8 alone, and no float operation.
 */
enum { TINC_F32 = 0, TINC_Q8 = 1 };
/* What follows the last layer: softmax with cross-entropy; the others are reserved. */
enum { TINC_SOFTMAX = 0, TINC_REGRESSION = 1, TINC_SIGMOID = 2 };
/* Kinds of layers. Flattening is no layer: a dense one takes the values of an image in order. */
enum {
    TINC_DENSE = 1,
    TINC_CONV = 2,      /* 2D; 1D is one of height 1 */
    TINC_DEPTHWISE = 3, /* one kernel per channel */
    TINC_MAX_POOL = 4,
    TINC_AVERAGE_POOL = 5, /* padding does not count; global: the kernel is the image */
    TINC_ADD = 6,          /* the layer before plus layer `source` */
};
enum { TINC_LINEAR = 0, TINC_RELU = 1, TINC_RELU6 = 2 };
/* Of f32 both are 0. Q8 weights are stored unsigned and in pairs of rows, see ../SPEC.md. */
enum { TINC_WEIGHT_F32 = 0, TINC_WEIGHT_INT8 = 1, TINC_WEIGHT_INT16 = 2 };
enum { TINC_BIAS_F32 = 0, TINC_BIAS_INT32 = 1 };
enum {
    TINC_RULE_FULL,
    TINC_RULE_STATIC,
    TINC_RULE_TINYPROP,
    TINC_RULE_TINYPROP2,
    TINC_RULE_SAMPLED
};

/* The buffers of a network, in this order in every call. */
enum { TINC_STRUCTURE, TINC_TRAINED, TINC_FROZEN, TINC_MEMORY, TINC_STATE, TINC_SECTIONS };

/* Header, 128 bytes, at the start of the structure. */
typedef struct {
    uint8_t magic[4]; /* "TINC" */
    uint16_t version_major;
    uint16_t version_minor;
    uint32_t structure_bytes; /* header, section table and layer table; a multiple of 8 */
    uint32_t structure_crc;   /* CRC-32 of those bytes with this field taken as 0 */
    uint32_t file_bytes;
    uint32_t sequence;     /* checkpoint number, 0 in a deployed file */
    uint8_t lineage[16];   /* the same in a deployed file and its checkpoints */
    uint8_t format;        /* TINC_F32 or TINC_Q8 */
    uint8_t head;          /* TINC_SOFTMAX */
    uint8_t section_count; /* 4..16 */
    uint8_t layer_count;   /* 1..32 */
    uint8_t input_type;    /* what enters layer 0: 0 float32, 1 int8; the same as format */
    uint8_t normalisation; /* 0: one offset and scale for all values */
    uint8_t optimiser;     /* 0: plain SGD */
    uint8_t input_rank;    /* 1..4 axes in use, the others 1 */
    uint32_t input_shape[4];
    float input_offset; /* raw units */
    float input_scale;  /* 1 / raw units, not 0 */
    float input_low;    /* normalised units: values below are clipped to it */
    float input_high;
    float input_step;         /* q8: scale of the input, a power of two; 0 in f32 */
    int32_t input_zero_point; /* 0 */
    uint8_t stage_layers;     /* the first layers that run strip by strip, 0 for none */
    uint8_t front_layers;     /* the first layers that are a frozen front end, 0 for none */
    uint16_t stage_rows;      /* rows of the last of them per strip, 0 when none */
    uint8_t reserved[36];     /* 0 */
} tinc_header;

/* Entry of the section table, 32 bytes. Sections follow the structure in the order of the table. */
enum { TINC_SECTION_REQUIRED = 1, TINC_SECTION_READ_ONLY = 2 };
typedef struct {
    uint32_t kind; /* TINC_TRAINED..TINC_STATE once each; others are optional extensions */
    uint32_t flags;
    uint32_t offset; /* from the start of the file; a multiple of 8 */
    uint32_t bytes;  /* a multiple of 8, may be 0 */
    uint32_t crc;    /* CRC-32 of the section */
    uint32_t reserved[3];
} tinc_section;

/* Entry of the layer table, 96 bytes. Tensors lie in the trained section when their flag is set,
 * else in the frozen section; offsets are from the start of that section and multiples of 8. */
enum { TINC_TRAIN_WEIGHTS = 1, TINC_TRAIN_BIAS = 2 };
typedef struct {
    uint8_t kind;       /* TINC_DENSE.. */
    uint8_t activation; /* TINC_LINEAR..; last layer and pools linear, other dense layers not */
    uint8_t flags;
    uint8_t update_eighths;       /* trained weights: of this share of the input channels, 1, 2,
                                   * 4 or 8; others: 0 or 8 */
    uint8_t weight_type;          /* TINC_WEIGHT_F32.. */
    uint8_t bias_type;            /* TINC_BIAS_F32.. */
    uint8_t optimiser_slots;      /* per trained weight; 0 */
    uint8_t rank;                 /* 1 dense, else 3 */
    uint8_t kernel[2], stride[2]; /* height, width */
    uint8_t padding[4];           /* top, left, bottom, right; zeros */
    uint8_t dilation[2];          /* 1 */
    uint16_t source;              /* TINC_ADD: a layer of the same shape, not the one right
                                   * before; else 0xFFFF */
    uint32_t groups;              /* 1; depthwise: the channels; dense, pools and add: 0 */
    uint32_t input_shape[3];      /* capacity; dense: {inputs, 1, 1} */
    uint32_t output_shape[3];     /* capacity; dense: {units, 1, 1} */
    uint32_t active;              /* dense: units in use, 0..output_shape[0]; else channels */
    uint32_t weights_offset;      /* f32: row per unit; depthwise: channels together */
    uint32_t bias_offset;
    uint32_t scales_offset; /* q8: float32 per unit, where the weights are; trained: 2^n */
    uint32_t slots_offset;  /* reserved: optimiser slots; 0 */
    uint32_t masks_offset;  /* reserved; 0 */
    float output_step;      /* q8: scale of the output, 2^n; 0 in f32, pools and the last layer */
    int32_t output_zero_point; /* 0 */
    uint32_t reserved[4];
} tinc_layer;

/* Start of the distilled memory, 64 bytes: features as q of 0..255, x = offset + step * q; in q8
 * offset and step are -128 and 1 steps of the features, or where none is below 0, 0 and 1/2. */
enum { TINC_MEMORY_8_BIT, TINC_MEMORY_4_BIT };
typedef struct {
    uint32_t capacity;    /* slots, 0..65535 */
    uint32_t count;       /* slots in use, the first ones */
    uint32_t features;    /* values per sample, the network's features */
    uint32_t stride;      /* bytes from sample to sample */
    uint8_t element_type; /* TINC_MEMORY_8_BIT..; reserved: 2 int8 */
    uint8_t soft_labels;  /* 0 */
    uint16_t reserved16;
    float step;              /* normalised units, above 0 */
    float offset;            /* normalised units */
    uint32_t classes_offset; /* uint16 per slot: its class */
    uint32_t weights_offset; /* uint16 per slot: samples it stands for, saturating */
    uint32_t samples_offset;
    uint32_t soft_offset; /* reserved: soft labels; 0 */
    uint32_t reserved[5];
} tinc_memory;

/* Start of the labels and settings, 128 bytes. */
typedef struct {
    uint8_t rule;
    uint8_t label_type;      /* 0 UTF-8, NUL-padded to label_bytes; 1 int32, then NULs */
    uint8_t label_bytes;     /* 4..64, a multiple of 4 */
    uint8_t replay;          /* memory samples replayed per learned sample, 0..255 */
    uint32_t class_capacity; /* units the last layer has room for */
    uint32_t generator;      /* random state, not 0 */
    uint32_t lessons;        /* samples learned, replayed ones not counted, saturating */
    uint32_t trained;        /* of these, not skipped */
    float learning_rate;     /* 1e-9..10; q8: a power of two */
    float static_ratio;      /* 0..1, rule static */
    float s_min, s_max;      /* 0..1, rules tinyprop and tinyprop2 (arXiv 2308.09201) */
    float zeta;              /* 0..1, per layer towards the input */
    float d_min, d_max;      /* 0..1, rule tinyprop2 (arXiv 2409.07109) */
    float beta;              /* 0..10 */
    float d_threshold;       /* 0..10: train when D reaches it */
    float error_threshold;   /* 1e-6..1e6: rule sampled trains with probability Y / this */
    float hidden_ratio;      /* 0..1: share of hidden units that rule sampled trains */
    float input_threshold;   /* 0..1: share of the largest input below which it skips a weight */
    float rates[2];          /* reserved; 0 */
    uint32_t layers_offset;  /* tinc_layer_state per layer */
    uint32_t classes_offset; /* tinc_class_state per class of class_capacity */
    uint32_t labels_offset;  /* label_bytes per class of class_capacity */
    float vote;              /* 0..100: weight of the memory's vote, 0 for none */
    uint32_t distance;       /* mean squared distance of samples to their exemplars, in steps */
    float logit_adjustment;  /* 0..20: see tinc_learn() */
    float novelty;           /* 0..1e6, the learner's: squared distance of something new, over
                              * `far`; 0: nothing is */
    uint32_t growth;         /* 0..65535, the learner's: hidden units that a new class brings */
    uint32_t far;            /* squared distance that 95 of 100 samples keep within, in steps */
    float label_smoothing;   /* 0..1: of a replayed exemplar's target, the share of all classes */
    uint32_t reserved[3];
} tinc_state;

typedef struct {
    float y_max;      /* running maximum of the layer's local error Y */
    uint32_t widened; /* q8: how often the output's step was doubled since the image was made */
} tinc_layer_state;

typedef struct {
    uint32_t last;     /* the lesson that taught it last, by the count of lessons; 0: none did */
    uint32_t replayed; /* how often tinc_choose() took it, for balance */
} tinc_class_state;

typedef struct {
    int32_t code;   /* tinc_error */
    uint32_t where; /* layer, section or position that the text names */
    uint32_t found; /* values that the text compares */
    uint32_t expected;
} tinc_fault;

/* A view over the five buffers, valid until one of them changes size or structure. */
typedef struct {
    tinc_header *header;
    tinc_layer *layers;
    uint8_t *section[TINC_SECTIONS];
    uint32_t bytes[TINC_SECTIONS];
    uint32_t section_index[TINC_SECTIONS]; /* in the section table */
    tinc_memory *memory;                   /* NULL when the network has none */
    tinc_state *state;
    uint32_t inputs;
    uint32_t features; /* what the layers behind the front end take; without one, the inputs */
    uint32_t layer_count;
    tinc_fault fault;
} tinc_net;

/* What tinc_learn() reports: counts (4 + layers of them) and figures. */
enum {
    TINC_STEP_SKIPPED,   /* 1 when the rule left the sample untrained */
    TINC_STEP_PREDICTED, /* class before the update */
    TINC_STEP_FORWARD,   /* multiply-accumulates actually done */
    TINC_STEP_BACKWARD,
    TINC_STEP_K, /* per layer: the rule's k, 0 where nothing was trained */
};
enum { TINC_STEP_LOSS, TINC_STEP_ERROR, TINC_STEP_PROBABILITY, TINC_STEP_FIGURES };

/* ---- image.c: is it a network? ---- */

/* Check the structure alone: before its sections are read, its table is all there is. Fills
 * header, layers, inputs, features. */
int tinc_open_structure(tinc_net *net, void *structure, size_t bytes);

/* Check structure and the headers of memory and state against the five buffers, in O(layers), and
 * fill the view. A section of 0 bytes may be NULL. Bases must be aligned to 8. */
int tinc_open(tinc_net *net, void *const section[TINC_SECTIONS], const size_t bytes[TINC_SECTIONS]);

/* After tinc_open() on a file just read: every CRC, every weight and scale a number that the
 * arithmetic bears, every slot's class in use. O(bytes). */
int tinc_check(tinc_net *net);

/* Before writing: put the section CRCs, then the structure's CRC, into the structure. */
void tinc_seal(tinc_net *net);

/* CRC-32 (IEEE 802.3, reflected, as zlib's), continuing from crc (0 to start). */
uint32_t tinc_crc32(uint32_t crc, const void *data, size_t bytes);

/* The fault in words, NUL-terminated, for example "sample has 63 values, expected 64". Returns its
 * length. */
size_t tinc_describe(const tinc_fault *fault, char text[TINC_TEXT_BYTES]);

/* ---- sample.c: from raw values to what the network sees ---- */

/* Bytes of a normalised sample x[inputs], and of x[features]: 4 per value in f32, 1 in q8. */
size_t tinc_sample_bytes(const tinc_net *net);
size_t tinc_feature_bytes(const tinc_net *net);

/* Convert n values of a typecode ('b' int8, 'B' uint8, 'h' int16, 'H' uint16, 'f' float32; Python's
 * array module) to normalised x[inputs], float32 or int8. Refuses a wrong count, an unknown type, a
 * misaligned buffer, NaN and infinity, naming the position; x is then undefined. */
int tinc_normalise(tinc_net *net, const void *raw, size_t n, int typecode, void *x);

/* ---- plan.c: what needs which scratch, and when ---- */

/* The scratch holds tensors that live from one moment to another: layer l runs at moment l, is
 * differentiated at moment 2 layers - 1 - l, and is done. */
enum { TINC_INFER, TINC_LEARN, TINC_EXTRACT };
enum {
    TINC_VALUES,   /* outputs of the layer */
    TINC_MASK,     /* a bit per output: it was not cut by the activation */
    TINC_WINNERS,  /* max pool: a byte per output, which of its window was largest */
    TINC_DELTA,    /* gradient at the outputs, 4 bytes each */
    TINC_FORWARD,  /* room for the layer's own work */
    TINC_BACKWARD, /* and when it is differentiated */
    TINC_ROLES
};
typedef struct {
    uint32_t offset;      /* in the scratch */
    uint32_t bytes;       /* a multiple of 8; 0: there is no such tensor */
    uint16_t first, last; /* moments, both included */
    int16_t exponent;     /* q8, in a call: log2 of what 1 is worth in TINC_VALUES, TINC_DELTA */
    uint16_t live;        /* while learning: a TINC_DELTA that something was added to */
} tinc_tensor;

/* Fill tensors[layers * TINC_ROLES] for one kind of work, at full capacity, and place them so that
 * those that live together do not overlap; but layers that run in place have one place for
 * their TINC_VALUES. Returns the bytes of scratch needed. */
size_t tinc_plan(const tinc_net *net, int work, tinc_tensor *tensors);

/* The bytes with which that work, and tinc_extract() before it, can be done. */
size_t tinc_scratch_bytes(const tinc_net *net, int work);

/* ---- forward.c and learn.c ---- */

/* The features of a normalised sample x[inputs] into features[features], of the same type; *macs
 * gets the multiply-accumulates done. A network without a front end gives the sample itself. Fails
 * as tinc_infer(). */
int tinc_extract(tinc_net *net, const void *x, void *features, uint32_t *macs, void *scratch,
                 size_t scratch_bytes);

/* Class probabilities of x[features] into probabilities[active classes]; returns
 * the likeliest class (the lowest of equals). The scratch is aligned to 8. Both calls refuse a
 * sample with a value that is NaN or beyond 1e30, in q8 -128 (TINC_E_SAMPLE_VALUE); in f32, when a
 * layer gives such a value, they end with TINC_E_DIVERGED. */
int tinc_infer(tinc_net *net, const void *x, float *probabilities, void *scratch,
               size_t scratch_bytes);

/* A lesson: one step of SGD on a sample of the stream under the state's rule. Updates trained
 * tensors, in q8 with their scales, the layers' states, generator and counters. Classes that the
 * stream has not had for TINC_RECENT lessons count with a logit lower by logit_adjustment (arXiv
 * 2007.07314): a stream without them would push them down, and tells nothing of them.
 * A diverging step is refused, so that weights stay finite: bindings return false for
 * TINC_E_DIVERGED, since it is no fault of the caller's. counts[4 + layers],
 * figures[TINC_STEP_FIGURES]. */
int tinc_learn(tinc_net *net, const void *x, uint32_t target, uint32_t *counts, float *figures,
               void *scratch, size_t scratch_bytes);

/* The same step on an exemplar that tinc_choose() finds, recalled into x[features]: no lesson, all
 * classes count, and its target is smoothed: 1 - label_smoothing, and what is left spread evenly
 * over all (arXiv 1512.00567), since few exemplars are soon known by heart. Returns its class, or
 * TINC_E_SLOT when there is none (the fault is not set). The exemplar counts as replayed even when
 * the step is refused. */
int tinc_replay(tinc_net *net, uint32_t excluded, void *x, uint32_t *counts, float *figures,
                void *scratch, size_t scratch_bytes);

/* ---- f32_dense.c, topk.c: kernels, not in a core of q8 alone ---- */

/* out[rows][columns] = a[rows][inner] b[inner][columns], row-major; out overlaps neither. */
void tinc_matmul(float *out, const float *a, const float *b, size_t rows, size_t inner,
                 size_t columns);

/* Indices of the k largest |values|, ascending; of equals the lower index wins. 1 <= k <= n <=
 * 65535. Exact zeros are never selected. Returns how many were. O(n log k). */
size_t tinc_topk(const float *values, size_t n, size_t k, uint16_t *indices);

/* ---- resize.c: capacity in use ---- */

/* Put `units` more units of a layer to use. Hidden: incoming weights uniform in
 * +-sqrt(6 / inputs) (He et al. 2015), outgoing in half that bound of the next layer, bias 0.
 * Last layer: a class that starts with zero weights. Only a dense layer that is trained, weights
 * and bias, can be resized, a hidden one when the next is dense with trained weights. */
int tinc_grow(tinc_net *net, uint32_t layer, uint32_t units);

/* Take one unit out of use; the last unit moves into its place. At least one stays. In the last
 * layer the labels and class states move likewise, and memory slots of the class are freed. */
int tinc_shrink(tinc_net *net, uint32_t layer, uint32_t unit);

/* The hidden unit whose removal matters least: smallest use, the sum of |outgoing| times that of
 * |incoming| weights, bias included. 0 where no unit is in use. TINC_E_UNIT (the fault is not set)
 * unless the largest use is `over` times as large. */
int tinc_least_useful(tinc_net *net, uint32_t layer, uint32_t over);

/* ---- memory.c: the distilled memory ----
 *
 * With 4 bits a slot keeps v = q / 17, rounded, and has q = 17 v from then on. */

/* A slot to replay: of the class replayed least so far (the lowest of equals; `excluded`, or none
 * with TINC_NONE, is left out, and counts as replayed as often), a random slot. Returns the slot,
 * or TINC_E_SLOT when there is none (the fault is not set). */
int tinc_choose(tinc_net *net, uint32_t excluded);

/* Slot to x[features]; returns its class. */
int tinc_recall(tinc_net *net, uint32_t slot, void *x);

/* x[features] in the memory's number format: q = clip(floor((x - offset) / step + 0.5), 0,
 * 255); in q8 q = x + 128 or max(2 x, 0). What is remembered, searched and moved is such a sample,
 * so that these calls are integer arithmetic and agree exactly on every machine. q[features]. */
int tinc_quantise(tinc_net *net, const void *x, uint8_t *q);

/* Store q in a slot (an existing one, or `count` to append) as a sample of a class, weight 1. Where
 * the class has exemplars, the distance to the nearest counts into the state's mean distance. */
int tinc_remember(tinc_net *net, uint32_t slot, const uint8_t *q, uint32_t cls);

/* The slot of a class (TINC_NONE: any) nearest to q, the lowest of equals; *distance gets the
 * squared Euclidean distance in steps. TINC_E_SLOT, and *distance stays, when there is none (the
 * fault is not set). */
int tinc_nearest(tinc_net *net, const uint8_t *q, uint32_t cls, uint32_t *distance);

/* Online k-means: move a slot's sample by 1 / weight towards q, with random rounding, in steps of 1
 * or with 4 bits of 17, so that small moves count; its weight grows up to 64. The distance before
 * the move counts into the state's mean distance. */
int tinc_move(tinc_net *net, uint32_t slot, const uint8_t *q);

/* x in the memory's number format into q[features], and the nearest exemplar of its class moved
 * towards it. Returns its slot, or TINC_E_SLOT when the class has none (the fault is not set). */
int tinc_follow(tinc_net *net, const void *x, uint32_t cls, uint8_t *q);

/* Let the exemplars vote on the network's probabilities[active classes] for q, in place: each
 * becomes proportional to p exp(-vote share d / distance), d the squared distance to the class's
 * nearest exemplar, share the exemplars over 16 per class, at most 1. A class without exemplars has
 * d = distance; a distance of 0 counts as 1. Nothing changes where vote is 0 or the memory empty.
 * Returns the likeliest class. */
int tinc_vote(tinc_net *net, const uint8_t *q, float *probabilities);

/* Whether q lies further from every exemplar than `novelty` times the distance that known samples
 * keep within: 0 or 1. 0 where novelty is, or nothing is remembered. */
int tinc_is_new(tinc_net *net, const uint8_t *q);

/* ---- arithmetic.c: what libm would have given, not in a core of q8 alone ---- */

/* Relative error below 2e-7 for x in [-87, 88]; 0 below, the largest float above. */
float tinc_exp(float x);
/* Absolute error below 2e-7 + 1e-7 |log x| for normal x > 0. */
float tinc_log(float x);
/* 1 / sqrt(x), relative error below 3e-7, for normal x > 0. */
float tinc_rsqrt(float x);

#endif
