/* What of MicroPython a native module calls, on a bare machine: the test sends calls of the
 * module's functions, one after the other, and gets what they return.
 *
 * The linker of native modules links this as well, the test places both in memory. MODULE is where
 * the module's code starts, ARENA where objects may lie. */
#include "py/dynruntime.h"

enum { SYSTEM_EXIT = 1, SYSTEM_READ = 3, SYSTEM_WRITE = 4 };
enum { INTEGER, BUFFER, TUPLE };
enum { RETURNED, RAISED };

#define MOST_FUNCTIONS 64
#define MOST_ARGUMENTS 8

typedef struct {
    mp_obj_base_t base;
    uint32_t value;
} number_object;

typedef struct {
    mp_obj_base_t base;
    uint32_t typecode, bytes;
    uint8_t *data;
} buffer_object;

typedef mp_obj_t (*start_of_module)(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw,
                                    mp_obj_t *args);

int simcall(int operation, int file, void *data, int bytes);
int main(void);

extern const mp_fun_table_t services;

/* Not static: the linker wants a name for what lies in memory. */
mp_obj_base_t none_object, false_object, true_object;
mp_obj_type_t int_type, buffer_type, tuple_type, exception_type;
mp_obj_type_t function_types[4]; /* with any number of arguments, with one, two, three */
mp_obj_tuple_t empty_tuple;
mp_module_context_t context;
mp_obj_t functions[MOST_FUNCTIONS]; /* by the number of their name */
uint8_t *arena;
uint32_t saved[16]; /* registers, by start.s */

/* ---- the other end ---- */

static void transfer(int operation, void *data, size_t bytes) {
    uint8_t *at = data;
    while (bytes > 0) {
        const int done = simcall(operation, operation == SYSTEM_WRITE, at, (int)bytes);
        if (done <= 0) {
            simcall(SYSTEM_EXIT, 2, NULL, 0);
        }
        at += done;
        bytes -= (size_t)done;
    }
}

static uint32_t read_word(void) {
    uint32_t word;
    transfer(SYSTEM_READ, &word, sizeof word);
    return word;
}

static void write_word(uint32_t word) {
    transfer(SYSTEM_WRITE, &word, sizeof word);
}

/* ---- objects ---- */

static void *take(size_t bytes) {
    void *place = arena;
    arena += (bytes + 7u) & ~(size_t)7u;
    return place;
}

static mp_obj_t new_number(mp_uint_t value, mp_uint_t type) {
    (void)type;
    number_object *number = take(sizeof *number);
    number->base.type = &int_type;
    number->value = value;
    return MP_OBJ_FROM_PTR(number);
}

static mp_obj_t new_text(const char *text, size_t length) {
    buffer_object *buffer = take(sizeof *buffer);
    buffer->base.type = &buffer_type;
    buffer->bytes = length;
    buffer->data = (uint8_t *)take(length);
    for (size_t i = 0; i < length; i++) {
        buffer->data[i] = (uint8_t)text[i];
    }
    return MP_OBJ_FROM_PTR(buffer);
}

static mp_obj_t new_tuple(size_t count, const mp_obj_t *items) {
    (void)items; /* the module asks for the empty one */
    return count == 0 ? MP_OBJ_FROM_PTR(&empty_tuple) : MP_OBJ_NULL;
}

static const mp_obj_type_t *type_of(mp_const_obj_t object) {
    if (mp_obj_is_small_int(object)) {
        return &int_type;
    }
    return ((const mp_obj_base_t *)object)->type;
}

static mp_uint_t value_of(mp_obj_t object, mp_uint_t type) {
    if (type == MP_NATIVE_TYPE_BOOL) {
        return object != MP_OBJ_FROM_PTR(&none_object) && object != MP_OBJ_FROM_PTR(&false_object);
    }
    return mp_obj_is_small_int(object) ? (mp_uint_t)MP_OBJ_SMALL_INT_VALUE(object)
                                       : ((number_object *)object)->value;
}

static bool buffer_of(mp_obj_t object, mp_buffer_info_t *info, mp_uint_t flags) {
    (void)flags;
    const buffer_object *buffer = object;
    if (type_of(object) != &buffer_type) {
        return false;
    }
    *info = (mp_buffer_info_t){buffer->data, buffer->bytes, (int)buffer->typecode};
    return true;
}

/* ---- names, calls, exceptions ---- */

static mp_obj_dict_t *swap_globals(mp_obj_dict_t *globals) {
    return globals;
}

static void store(qstr name, mp_obj_t function) {
    functions[name] = function;
}

static mp_obj_t load(qstr name) {
    return name == MP_QSTR_int ? MP_OBJ_FROM_PTR(&int_type) : MP_OBJ_FROM_PTR(&exception_type);
}

/* The one call that the module makes is that of an exception's type: what it is about stands for
 * the exception. */
static mp_obj_t call(mp_obj_t type, size_t n_args, const mp_obj_t *args) {
    (void)type;
    return n_args == 1 ? args[0] : MP_OBJ_NULL;
}

static void raise(mp_obj_t text) {
    const buffer_object *buffer = text;
    write_word(RAISED);
    write_word(buffer->bytes);
    transfer(SYSTEM_WRITE, buffer->data, buffer->bytes);
    simcall(SYSTEM_EXIT, 1, NULL, 0);
}

static NORETURN void raise_text(const mp_obj_type_t *type, const char *text) {
    (void)type;
    size_t length = 0;
    while (text[length] != 0) {
        length++;
    }
    raise(new_text(text, length));
    for (;;) {
    }
}

const mp_fun_table_t services = {
    .const_none = &none_object,
    .const_false = &false_object,
    .const_true = &true_object,
    .native_from_obj = value_of,
    .native_to_obj = new_number,
    .swap_globals = swap_globals,
    .load_global = load,
    .store_global = store,
    .call_function_n_kw = call,
    .raise = raise,
    .raise_msg = raise_text,
    .new_tuple = new_tuple,
    .obj_get_type = type_of,
    .obj_new_str = new_text,
    .get_buffer = buffer_of,
    .type_fun_builtin_1 = &function_types[1],
    .type_fun_builtin_2 = &function_types[2],
    .type_fun_builtin_3 = &function_types[3],
    .type_fun_builtin_var = &function_types[0],
};

/* ---- calls from the other end ---- */

static mp_obj_t read_object(void) {
    const uint32_t kind = read_word(), count = read_word();
    if (kind == INTEGER) {
        return MP_OBJ_NEW_SMALL_INT((int32_t)count);
    }
    if (kind == BUFFER) {
        buffer_object *buffer = take(sizeof *buffer);
        buffer->base.type = &buffer_type;
        buffer->bytes = count;
        buffer->typecode = read_word();
        buffer->data = take(count);
        transfer(SYSTEM_READ, buffer->data, count);
        return MP_OBJ_FROM_PTR(buffer);
    }
    mp_obj_tuple_t *tuple = take(sizeof *tuple + count * sizeof(mp_obj_t));
    tuple->base.type = &tuple_type;
    tuple->len = count;
    for (uint32_t i = 0; i < count; i++) {
        tuple->items[i] = read_object();
    }
    return MP_OBJ_FROM_PTR(tuple);
}

/* All buffers of an argument, since the function may have written to them. */
static void write_buffers(mp_obj_t object) {
    if (type_of(object) == &buffer_type) {
        const buffer_object *buffer = object;
        transfer(SYSTEM_WRITE, buffer->data, buffer->bytes);
    } else if (type_of(object) == &tuple_type) {
        const mp_obj_tuple_t *tuple = object;
        for (size_t i = 0; i < tuple->len; i++) {
            write_buffers(tuple->items[i]);
        }
    }
}

static mp_obj_t call_function(mp_obj_t function, size_t count, mp_obj_t *args) {
    const mp_obj_fun_builtin_fixed_t *fixed = function;
    if (fixed->base.type == &function_types[0]) {
        return ((const mp_obj_fun_builtin_var_t *)function)->fun.var(count, args);
    }
    return count == 1   ? fixed->fun._1(args[0])
           : count == 2 ? fixed->fun._2(args[0], args[1])
                        : fixed->fun._3(args[0], args[1], args[2]);
}

/* One call, until there is none: the number of the function's name, its arguments. */
static int serve(void) {
    const uint32_t name = read_word(), count = name == 0 ? 0 : read_word();
    mp_obj_t args[MOST_ARGUMENTS];
    if (name == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        args[i] = read_object();
    }
    const mp_obj_t result = call_function(functions[name], count, args);
    write_word(RETURNED);
    write_word(type_of(result) == &int_type);
    write_word(
        value_of(result, type_of(result) == &int_type ? MP_NATIVE_TYPE_INT : MP_NATIVE_TYPE_BOOL));
    for (uint32_t i = 0; i < count; i++) {
        write_buffers(args[i]);
    }
    return 1;
}

int main(void) {
    mp_obj_fun_bc_t self = {.context = &context};
    arena = (uint8_t *)ARENA;
    empty_tuple.base.type = &tuple_type;
    ((start_of_module)MODULE)(&self, 0, 0, NULL);
    do {
        arena = (uint8_t *)ARENA;
    } while (serve());
    return 0;
}
