/* A small coverage-guided fuzzer for target.c, for gcc alone: what libFuzzer does, without clang.
 *
 *     fuzz SECONDS SEED CURRENT FILE...   mutate the files for a time; prints the executions done
 *     fuzz -once FILE...                  run each file as it is
 *     fuzz -flips FILE...                 run each file with each single bit flipped
 *
 * The core is compiled with -fsanitize-coverage=trace-pc; an input that reaches a new edge, or one
 * more often, joins the pool that is mutated. The input that runs is in the file CURRENT, mapped to
 * memory: after a crash it is there. One that takes more than a minute is ended by a signal. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_BYTES = 8192,
    MOST_INPUTS = 8192,
    EDGES = 1 << 14,
    SECONDS_PER_BATCH = 60,
    BATCH = 1024
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_cov_trace_pc(void);

typedef struct {
    uint32_t size;
    uint8_t bytes[MOST_BYTES];
} input;

static input *pool[MOST_INPUTS];
static uint32_t inputs;
static uint8_t hits[EDGES], seen[EDGES];
static uint16_t touched[EDGES]; /* edges with hits */
static uint32_t touched_edges, last_place;
static uint64_t generator;

/* ---- coverage ---- */

void __sanitizer_cov_trace_pc(void) {
    const uint32_t place = (uint32_t)(uintptr_t)__builtin_return_address(0) * 0x9E3779B1u >> 16;
    const uint32_t edge = (place ^ last_place) % EDGES;
    last_place = place >> 1;
    if (hits[edge] == 0) {
        touched[touched_edges++] = (uint16_t)edge;
    }
    hits[edge] += hits[edge] < 255;
}

/* Did the last run go anywhere new? A bit of `seen` per power of two of an edge's hits. */
static int is_new(void) {
    int found = 0;
    for (uint32_t i = 0; i < touched_edges; i++) {
        const uint32_t edge = touched[i];
        const uint8_t bit = (uint8_t)(1u << (31 - __builtin_clz(hits[edge])));
        found |= bit & ~seen[edge];
        seen[edge] |= bit;
    }
    return found;
}

static void forget_hits(void) {
    for (uint32_t i = 0; i < touched_edges; i++) {
        hits[touched[i]] = 0;
    }
    touched_edges = last_place = 0;
}

static void run(const input *current) {
    forget_hits();
    uint8_t *exact = malloc(current->size); /* so that reading past it is seen */
    memcpy(exact, current->bytes, current->size);
    LLVMFuzzerTestOneInput(exact, current->size);
    free(exact);
}

/* ---- mutation ---- */

static uint32_t below(uint32_t n) {
    generator = generator * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((generator >> 33) % n);
}

/* What sizes, offsets and floats go wrong at. */
static uint32_t hostile(void) {
    static const uint32_t words[] = {
        0,           1,           2,           7,           8,           64,          128,
        0xFF,        0xFFFF,      0x10000,     0x7FFFFFFF,  0x80000000u, 0xFFFFFFFFu, 0xFFFFFFF8u,
        0x7FFFFFF8,  0x40000000,  0x3F800000u, 0x00000001u, 0x7F7FFFFFu, 0xFF7FFFFFu, 0x7F800000u,
        0xFF800000u, 0x7FC00000u, 0x00800000u, 0x7149F2CAu, 0xF149F2CAu, 0x41200000u, 0x49742400u,
        0x33800000u, 0x4B800000u, 0x7F000000u, 0xC0000000u, 0x80808080u, 0x80808081u};
    return words[below(sizeof words / sizeof words[0])];
}

static uint32_t random_word(void) {
    return below(0x10000) << 16 | below(0x10000);
}

/* Fields lie at multiples of 4 from the image, which starts where the program ends: 2 + 8 n. */
static uint32_t field(const input *i) {
    const uint32_t at = below(i->size / 4) * 4 + 2;
    return at + 4 <= i->size ? at : 2;
}

static void put(input *i, uint32_t at, uint32_t word) {
    memcpy(i->bytes + at, &word, sizeof word);
}

static void splice(input *i, const input *other) {
    const uint32_t least = i->size < other->size ? i->size : other->size;
    const uint32_t from = below(least), most = least - from;
    const uint32_t size = 1 + below(most < 64 || below(4) == 0 ? most : 64);
    memcpy(i->bytes + from, other->bytes + from, size);
}

/* A field of a layer or of the header becomes another value that it might well have. */
static void mutate_structure(input *i) {
    const uint32_t image = 2 + 8 * (i->bytes[1] % 32u);
    if (image + 128 > i->size) {
        return;
    }
    const uint32_t sections = i->bytes[image + 42], layers = i->bytes[image + 43];
    const uint32_t layer = below(layers + 1u);
    const uint32_t entry = layer == layers ? image + 40 : image + 128 + 32 * sections + 96 * layer;
    const uint32_t fields = layer == layers ? 8 : 52; /* up to where the tensors lie */
    const uint32_t at = entry + below(below(2) ? fields : 20);
    if (at < i->size) {
        i->bytes[at] = (uint8_t)(below(2) ? below(9) : i->bytes[at] + below(3) - 1u);
    }
}

static void mutate_once(input *i) {
    uint32_t word;
    const uint32_t at = field(i);
    memcpy(&word, i->bytes + at, sizeof word);
    switch (below(12)) {
    case 0:
        i->bytes[below(i->size)] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        i->bytes[below(i->size)] = (uint8_t)below(256);
        break;
    case 2:
    case 3:
        put(i, at, hostile());
        break;
    case 4:
        put(i, at, word + below(33) - 16);
        break;
    case 5:
        put(i, field(i), word);
        break;
    case 6:
        put(i, at, random_word());
        break;
    case 7: /* an operation; many, so that calls follow calls */
    case 8:
        word = 2 + 8 * below(1 + i->bytes[1] % 32);
        if (word + 8 <= i->size) {
            put(i, word, random_word());
            put(i, word + 4, below(2) ? hostile() : random_word());
        }
        break;
    case 9:
    case 10:
        mutate_structure(i);
        break;
    default:
        if (below(16) == 0) {
            i->size -= below(i->size - 16);
        } else {
            splice(i, pool[below(inputs)]);
        }
    }
}

static void mutate(input *i) {
    for (uint32_t times = 1 + below(6); times > 0 && i->size > 32; times--) {
        mutate_once(i);
    }
}

/* ---- files ---- */

static void keep(const input *current) {
    if (inputs < MOST_INPUTS) {
        pool[inputs] = malloc(sizeof(input));
        memcpy(pool[inputs++], current, sizeof(input));
    }
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void read_input(const char *path, input *to) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die(path);
    }
    to->size = (uint32_t)fread(to->bytes, 1, MOST_BYTES, file);
    fclose(file);
}

static input *map_current(const char *path) {
    const int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (file < 0 || ftruncate(file, sizeof(input)) != 0) {
        die(path);
    }
    input *mapped = mmap(NULL, sizeof(input), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) {
        die(path);
    }
    return mapped;
}

/* ---- what it does ---- */

static uint64_t flip(input *current) {
    for (uint32_t bit = 0; bit < 8 * current->size; bit++) {
        current->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        run(current);
        current->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return 8u * (uint64_t)current->size;
}

static uint64_t run_files(char **paths, int count, int flips) {
    static input current;
    uint64_t executions = 0;
    for (int i = 0; i < count; i++) {
        read_input(paths[i], &current);
        run(&current);
        executions += 1 + (flips ? flip(&current) : 0);
    }
    return executions;
}

static uint64_t fuzz(time_t seconds, input *current, char **paths, int count) {
    for (int i = 0; i < count; i++) {
        read_input(paths[i], current);
        run(current);
        is_new();
        keep(current);
    }
    uint64_t executions = inputs;
    const time_t end = time(NULL) + seconds;
    while (inputs > 0 && time(NULL) < end) {
        alarm(SECONDS_PER_BATCH);
        for (uint32_t i = 0; i < BATCH; i++) {
            const input *from = pool[below(inputs)];
            memcpy(current, from, offsetof(input, bytes) + from->size);
            mutate(current);
            run(current);
            if (is_new()) {
                keep(current);
            }
        }
        executions += BATCH;
    }
    return executions;
}

int main(int count, char **arguments) {
    uint64_t executions;
    if (count >= 3 && arguments[1][0] == '-') {
        executions = run_files(arguments + 2, count - 2, strcmp(arguments[1], "-flips") == 0);
    } else if (count >= 5) {
        generator = strtoull(arguments[2], NULL, 10);
        executions = fuzz(atol(arguments[1]), map_current(arguments[3]), arguments + 4, count - 4);
    } else {
        fprintf(stderr,
                "usage: fuzz SECONDS SEED CURRENT FILE... | -once FILE... | -flips FILE...\n");
        return 2;
    }
    printf("%llu executions, %u inputs\n", (unsigned long long)executions, inputs);
    return 0;
}
