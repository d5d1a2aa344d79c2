/* Measure engine calls on an emulated core: every sample of a job that the host has prepared.
 *
 * Prints lines of a word and numbers: "loop" with the ticks of nothing and of a loop of known
 * length, "step" per sample with its ticks and its multiply-accumulates forward and backward, "ram"
 * with the bytes of sections, scratch, sample and stack, "crc" of the trained section at the end.
 * Or "fault" and what was wrong. */
#include "internal.h"
#include "machine.h"

#define PAINT 0xA5A5A5A5u

/* What the host puts at `payload`: this, the image, a uint32 target per sample, the samples. */
enum { CALL_LEARN, CALL_INFER, CALL_LAYER };
typedef struct {
    uint32_t call; /* a learning step, the forward pass, or layer 0 of it alone */
    uint32_t image_bytes;
    uint32_t samples;
    uint32_t sample_bytes;
    uint32_t typecode;
} job_header;

typedef struct {
    void *section[TINC_SECTIONS];
    size_t bytes[TINC_SECTIONS];
    uint8_t *scratch;
    size_t scratch_bytes;
    void *x;
    uint32_t x_bytes;
    float *probabilities;
    uint32_t macs[2]; /* of the last call, forward and backward */
} bench;

extern const job_header payload;
extern uint8_t arena_start[], arena_end[];

static void print(const char *word, const uint32_t *numbers, unsigned count) {
    char line[100], *end = line;
    while (*word != 0) {
        *end++ = *word++;
    }
    for (unsigned i = 0; i < count; i++) {
        char digits[10];
        unsigned length = 0;
        uint32_t rest = numbers[i];
        do {
            digits[length++] = (char)('0' + rest % 10u);
            rest /= 10u;
        } while (rest != 0);
        *end++ = ' ';
        while (length > 0) {
            *end++ = digits[--length];
        }
    }
    *end++ = '\n';
    *end = 0;
    write_text(line);
}

static void refuse(const char *why) {
    write_text(why);
    write_text("\n");
    stop(1);
}

static void refuse_net(const tinc_net *net) {
    char text[TINC_TEXT_BYTES];
    tinc_describe(&net->fault, text);
    refuse(text);
}

static void *take(size_t bytes) {
    static size_t taken;
    uint8_t *place = arena_start + taken;
    taken += (bytes + 7u) & ~(size_t)7u;
    if (taken > (size_t)(arena_end - arena_start)) {
        refuse("the job does not fit into the RAM");
    }
    return place;
}

/* Nothing, and 2 + 2 * 64000 instructions: the host knows what they must give. */
static __attribute__((noinline)) void calibrate(void) {
    uint32_t measured[2], turns;
    uint32_t start = ticks();
    measured[0] = ticks() - start;
    start = ticks();
    __asm__ volatile(".syntax unified\n movs %0, #250\n lsls %0, %0, #8\n"
                     "1: subs %0, #1\n bne 1b"
                     : "=l"(turns)
                     :
                     : "cc");
    measured[1] = ticks() - start;
    print("loop", measured, 2);
}

/* Sections may lie where the file has them: their offsets are multiples of 8. */
static void load(bench *b) {
    const uint32_t *from = (const void *)(&payload + 1);
    uint32_t *image = take(payload.image_bytes);
    for (uint32_t i = 0; i < payload.image_bytes / 4u; i++) {
        image[i] = from[i];
    }
    const tinc_header *header = (const void *)image;
    const tinc_section *table = (const void *)(header + 1);
    b->section[TINC_STRUCTURE] = image;
    b->bytes[TINC_STRUCTURE] = header->structure_bytes;
    for (unsigned i = 0; i < header->section_count; i++) {
        if (table[i].kind < TINC_SECTIONS) {
            b->section[table[i].kind] = (uint8_t *)image + table[i].offset;
            b->bytes[table[i].kind] = table[i].bytes;
        }
    }
    tinc_net net;
    if (tinc_open(&net, b->section, b->bytes) != TINC_OK || tinc_check(&net) != TINC_OK) {
        refuse_net(&net);
    }
    b->scratch_bytes =
        tinc_scratch_bytes(&net, payload.call == CALL_LEARN ? TINC_LEARN : TINC_INFER);
    b->scratch = take(b->scratch_bytes);
    for (size_t i = 0; i < b->scratch_bytes; i++) {
        b->scratch[i] = 0;
    }
    b->x_bytes = (uint32_t)tinc_sample_bytes(&net);
    b->x = take(b->x_bytes);
    b->probabilities = take(net.state->class_capacity * sizeof *b->probabilities);
}

/* Layer 0 on the sample; returns the ticks of that. */
static uint32_t measure_layer(bench *b, tinc_net *net) {
    tinc_work work;
    if (tinc_begin(net, b->x, 0, b->scratch, b->scratch_bytes, &work) != TINC_OK) {
        refuse_net(net);
    }
    const tinc_layer *layer = net->layers;
    const tinc_rows rows = {0, layer->kind == TINC_DENSE ? 1u : layer->output_shape[0], 0};
    const uint32_t start = ticks();
    TINC_CALL(net, run(&work, 0, b->x, tinc_place(&work, 0, TINC_VALUES), &rows));
    const uint32_t spent = ticks() - start;
    *work.busy = 0;
    b->macs[0] = work.forward;
    return spent;
}

/* One call as a caller makes it, who opens the network first; returns the ticks of the call. */
static __attribute__((noinline)) uint32_t measure(bench *b, const void *raw, uint32_t target) {
    tinc_net net;
    uint32_t counts[TINC_STEP_K + TINC_MAX_LAYERS] = {0};
    float figures[TINC_STEP_FIGURES];
    int result;
    if (tinc_open(&net, b->section, b->bytes) != TINC_OK ||
        tinc_normalise(&net, raw, net.inputs, (int)payload.typecode, b->x) != TINC_OK) {
        refuse_net(&net);
    }
    if (payload.call == CALL_LAYER) {
        return measure_layer(b, &net);
    }
    const uint32_t start = ticks();
    if (payload.call == CALL_INFER) {
        result = tinc_infer(&net, b->x, b->probabilities, b->scratch, b->scratch_bytes);
    } else {
        result = tinc_learn(&net, b->x, target, counts, figures, b->scratch, b->scratch_bytes);
    }
    const uint32_t spent = ticks() - start;
    if (result < 0) {
        refuse_net(&net);
    }
    b->macs[0] = counts[TINC_STEP_FORWARD];
    b->macs[1] = counts[TINC_STEP_BACKWARD];
    return spent;
}

static uint32_t *stack_pointer(void) {
    uint32_t *pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}

/* measure() over a painted stack; *deepest becomes the most bytes of stack that were touched. */
static uint32_t measure_painted(bench *b, const void *raw, uint32_t target, uint32_t *deepest) {
    volatile uint32_t *const limit = (volatile uint32_t *)(void *)arena_end;
    uint32_t *const here = stack_pointer();
    for (volatile uint32_t *word = limit; word < here; word++) {
        *word = PAINT;
    }
    const uint32_t spent = measure(b, raw, target);
    volatile uint32_t *word = limit;
    while (*word == PAINT) {
        word++;
    }
    if (word == limit) {
        refuse("the stack is too small");
    }
    const uint32_t used = (uint32_t)((uintptr_t)here - (uintptr_t)word);
    *deepest = used > *deepest ? used : *deepest;
    return spent;
}

int main(void) {
    bench b = {0};
    uint32_t stack = 0;
    start_clock();
    calibrate();
    load(&b);
    const uint8_t *image = (const uint8_t *)(&payload + 1);
    const uint32_t *targets = (const void *)(image + payload.image_bytes);
    const uint8_t *samples = (const uint8_t *)(targets + payload.samples);
    for (uint32_t i = 0; i < payload.samples; i++) {
        const void *raw = samples + i * payload.sample_bytes;
        const uint32_t spent = measure_painted(&b, raw, targets[i], &stack);
        print("step", (const uint32_t[]){spent, b.macs[0], b.macs[1]}, 3);
    }
    print("ram", (const uint32_t[]){payload.image_bytes, b.scratch_bytes, b.x_bytes, stack}, 4);
    const uint32_t crc = tinc_crc32(0, b.section[TINC_TRAINED], b.bytes[TINC_TRAINED]);
    print("crc", &crc, 1);
    return 0;
}
