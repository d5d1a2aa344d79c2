/* Time one learning step of the C core on an image: bench_core IMAGE LAPS STEPS
 *
 * Prints the best lap in ns per step. The image's own rule and learning rate are used; the samples
 * are fixed random ones that hold no zeros, which the core would skip. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../usermod_c/core/tinyinc.h"

#define SAMPLES 50 /* a multiple of the ten classes */

static void stop(const char *why) {
    fprintf(stderr, "bench_core: %s\n", why);
    exit(2);
}

static void *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        stop("cannot read the image");
    }
    *bytes = (size_t)ftell(file);
    rewind(file);
    void *content = malloc(*bytes);
    if (content == NULL || fread(content, 1, *bytes, file) != *bytes) {
        stop("cannot read the image");
    }
    fclose(file);
    return content;
}

/* Sections may lie where the file has them: their offsets are multiples of 8. */
static void open_image(tinc_net *net, uint8_t *image, size_t bytes) {
    const tinc_header *header = (const void *)image;
    if (bytes < sizeof *header || bytes != header->file_bytes) {
        stop("not an image");
    }
    void *section[TINC_SECTIONS] = {image};
    size_t sizes[TINC_SECTIONS] = {header->structure_bytes};
    const tinc_section *table = (const void *)(header + 1);
    for (unsigned i = 0; i < header->section_count; i++) {
        if (table[i].kind < TINC_SECTIONS) {
            section[table[i].kind] = image + table[i].offset;
            sizes[table[i].kind] = table[i].bytes;
        }
    }
    if (tinc_open(net, section, sizes) != TINC_OK || tinc_check(net) != TINC_OK) {
        char text[TINC_TEXT_BYTES];
        tinc_describe(&net->fault, text);
        stop(text);
    }
}

static float *make_samples(size_t inputs) {
    float *samples = malloc(SAMPLES * inputs * sizeof *samples);
    uint32_t random = 1;
    for (size_t i = 0; samples != NULL && i < SAMPLES * inputs; i++) {
        random = random * 1664525u + 1013904223u;
        samples[i] = 0.05f + 0.95f * (float)(random >> 8) / 16777216.0f;
    }
    return samples;
}

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

int main(int count, char **arguments) {
    if (count != 4) {
        stop("usage: bench_core IMAGE LAPS STEPS");
    }
    const long laps = atol(arguments[2]), steps = atol(arguments[3]);
    size_t bytes;
    uint8_t *image = read_file(arguments[1], &bytes);
    tinc_net net;
    open_image(&net, image, bytes);
    const float *samples = make_samples(net.inputs);
    const size_t scratch_bytes = tinc_scratch_bytes(&net, TINC_LEARN);
    void *scratch = calloc(1, scratch_bytes);
    if (samples == NULL || scratch == NULL) {
        stop("out of memory");
    }
    uint32_t counts[TINC_STEP_K + TINC_MAX_LAYERS];
    float figures[TINC_STEP_FIGURES];
    double best = 0.0;
    for (long lap = 0; lap < laps; lap++) {
        const double start = now_ns();
        for (long i = 0; i < steps; i++) {
            const float *x = samples + (size_t)(i % SAMPLES) * net.inputs;
            if (tinc_learn(&net, x, (uint32_t)i % 10u, counts, figures, scratch, scratch_bytes) !=
                TINC_OK) {
                stop("the step failed");
            }
        }
        const double spent = (now_ns() - start) / (double)steps;
        best = lap == 0 || spent < best ? spent : best;
    }
    printf("%.1f\n", best);
    return 0;
}
