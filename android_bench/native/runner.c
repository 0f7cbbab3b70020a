/* Times one .tflite model with the LiteRT library, on the CPU, one thread.
 *
 *   litert_runner --library=libLiteRt.so --graph=model.tflite --num_runs=50
 *
 * For Linux boards: the flags are those of the official benchmark_model where
 * it has them, and --help lists them in its form. The figures come out as one
 * JSON object. The library is loaded when the program runs, so it needs no
 * LiteRT headers to build; the calls that it makes are declared below as the
 * library of LiteRT 2 has them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { BAD_USAGE = 2, CPU = 1, LOCK_READ = 0, LOCK_WRITE = 1 };
enum { FLOAT32 = 1, MAX_TENSORS = 16, TENSOR_TYPE_BYTES = 512 };

static void fail(int code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  fputs("error: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(code);
}

/* The library. */

static void* library;

static void* symbol(const char* name) {
  void* found = dlsym(library, name);
  if (!found) fail(1, "this LiteRT library has no function %s", name);
  return found;
}

/* Calls a function by its name, all arguments but the last ones typed by the
 * caller; every one answers with a status. */
#define CALL(name, types, ...)                                            \
  do {                                                                    \
    int status = ((int(*) types)symbol("LiteRt" name))(__VA_ARGS__);      \
    if (status) fail(1, "LiteRt" name " failed with status %d", status);  \
  } while (0)

typedef void* Handle;

typedef struct {
  Handle environment, model, compiled, profiler;
  Handle inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  size_t num_inputs, num_outputs;
} Session;

static Handle make_options(int profiling) {
  Handle options, opaque;
  CALL("CreateOptions", (Handle*), &options);
  CALL("SetOptionsHardwareAccelerators", (Handle, int), options, CPU);
  if (profiling) {
    /* The library frees the text itself. */
    char* text = strdup("enable_profiling = true");
    CALL("CreateOpaqueOptions",
         (const char*, void*, void (*)(void*), Handle*),
         "runtime_options_string", text, free, &opaque);
    CALL("AddOpaqueOptions", (Handle, Handle), options, opaque);
  }
  return options;
}

/* The files that inputs are read from; NULL for numbers of our own. */
static const char* input_files[MAX_TENSORS];

static void read_input(const char* path, void* data, size_t bytes) {
  FILE* file = fopen(path, "rb");
  if (!file) fail(BAD_USAGE, "cannot read %s", path);
  size_t got = fread(data, 1, bytes, file);
  int more = fgetc(file) != EOF;
  fclose(file);
  if (got != bytes || more)
    fail(BAD_USAGE, "expected %zu bytes in %s", bytes, path);
}

/* Fills an input with numbers that are the same on every machine. */
static void fill(Handle buffer, int element_type, const char* path) {
  void* data;
  size_t bytes;
  uint32_t state = 12345;
  CALL("GetTensorBufferSize", (Handle, size_t*), buffer, &bytes);
  if (path)
    CALL("GetTensorBufferPackedSize", (Handle, size_t*), buffer, &bytes);
  CALL("LockTensorBuffer", (Handle, void**, int), buffer, &data, LOCK_WRITE);
  if (path) {
    read_input(path, data, bytes);
    bytes = 0;
  }
  for (size_t i = 0; i < bytes / (element_type == FLOAT32 ? 4 : 1); i++) {
    state = state * 1664525u + 1013904223u;
    if (element_type == FLOAT32)
      ((float*)data)[i] = (float)(state >> 16) / 32768.0f - 1.0f;
    else
      ((uint8_t*)data)[i] = (uint8_t)(state >> 24);
  }
  CALL("UnlockTensorBuffer", (Handle), buffer);
}

static Handle make_buffer(Session* s, Handle tensor, Handle wanted,
                          int is_input, const char* path) {
  union {
    int element_type; /* the first field of the library's struct */
    char bytes[TENSOR_TYPE_BYTES];
  } type;
  Handle buffer;
  memset(&type, 0, sizeof type);
  CALL("GetRankedTensorType", (Handle, void*), tensor, &type);
  CALL("CreateManagedTensorBufferFromRequirements",
       (Handle, void*, Handle, Handle*), s->environment, &type, wanted,
       &buffer);
  if (is_input) fill(buffer, type.element_type, path);
  return buffer;
}

static void make_buffers(Session* s) {
  Handle signature, tensor, wanted;
  CALL("GetModelSignature", (Handle, size_t, Handle*), s->model, 0,
       &signature);
  CALL("GetNumSignatureInputs", (Handle, size_t*), signature,
       &s->num_inputs);
  CALL("GetNumSignatureOutputs", (Handle, size_t*), signature,
       &s->num_outputs);
  if (s->num_inputs > MAX_TENSORS || s->num_outputs > MAX_TENSORS)
    fail(1, "expected at most %d inputs and outputs", MAX_TENSORS);
  for (size_t i = 0; i < s->num_inputs; i++) {
    CALL("GetSignatureInputTensorByIndex", (Handle, size_t, Handle*),
         signature, i, &tensor);
    CALL("GetCompiledModelInputBufferRequirements",
         (Handle, size_t, size_t, Handle*), s->compiled, 0, i, &wanted);
    s->inputs[i] = make_buffer(s, tensor, wanted, 1, input_files[i]);
  }
  for (size_t i = 0; i < s->num_outputs; i++) {
    CALL("GetSignatureOutputTensorByIndex", (Handle, size_t, Handle*),
         signature, i, &tensor);
    CALL("GetCompiledModelOutputBufferRequirements",
         (Handle, size_t, size_t, Handle*), s->compiled, 0, i, &wanted);
    s->outputs[i] = make_buffer(s, tensor, wanted, 0, NULL);
  }
}

static void open_session(Session* s, const char* graph, int profiling) {
  memset(s, 0, sizeof *s);
  CALL("CreateEnvironment", (int, void*, Handle*), 0, NULL,
       &s->environment);
  CALL("CreateModelFromFile", (Handle, const char*, Handle*),
       s->environment, graph, &s->model);
  CALL("CreateCompiledModel", (Handle, Handle, Handle, Handle*),
       s->environment, s->model, make_options(profiling), &s->compiled);
  if (profiling)
    CALL("CompiledModelGetProfiler", (Handle, Handle*), s->compiled,
         &s->profiler);
  make_buffers(s);
}

static void run(Session* s) {
  CALL("RunCompiledModel", (Handle, size_t, size_t, Handle*, size_t, Handle*),
       s->compiled, 0, s->num_inputs, s->inputs, s->num_outputs, s->outputs);
}

/* FNV-1a over all outputs: equal on machines that compute the same. Writes
 * them to a file as well, one after another, when there is one. */
static uint64_t checksum(Session* s, const char* path) {
  uint64_t hash = 14695981039346656037u;
  FILE* file = path ? fopen(path, "wb") : NULL;
  if (path && !file) fail(BAD_USAGE, "cannot write %s", path);
  for (size_t i = 0; i < s->num_outputs; i++) {
    void* data;
    size_t bytes;
    CALL("GetTensorBufferPackedSize", (Handle, size_t*), s->outputs[i],
         &bytes);
    CALL("LockTensorBuffer", (Handle, void**, int), s->outputs[i], &data,
         LOCK_READ);
    for (size_t k = 0; k < bytes; k++)
      hash = (hash ^ ((uint8_t*)data)[k]) * 1099511628211u;
    if (file && fwrite(data, 1, bytes, file) != bytes)
      fail(1, "cannot write %s", path);
    CALL("UnlockTensorBuffer", (Handle), s->outputs[i]);
  }
  if (file && fclose(file)) fail(1, "cannot write %s", path);
  return hash;
}

/* Timing. */

typedef struct {
  long count, room;
  double* samples;
  double first, curr, min, max, sum, squares, min_cpu;
} Series;

static void keep(Series* series, double wall) {
  if (series->count == series->room) {
    series->room = series->room ? 2 * series->room : 64;
    series->samples =
        realloc(series->samples, series->room * sizeof *series->samples);
    if (!series->samples) fail(1, "out of memory");
  }
  series->samples[series->count++] = wall;
}

static int compare(const void* first, const void* second) {
  double a = *(const double*)first, b = *(const double*)second;
  return (a > b) - (a < b);
}

/* What a share of the runs was below, between the two nearest. */
static double percentile(const Series* series, double share) {
  double place = share * (series->count - 1);
  long below = (long)place;
  long above = below + 1 < series->count ? below + 1 : below;
  double* sorted = series->samples;
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

static double now_us(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static Series measure(Session* s, long runs, double min_secs,
                      double max_secs) {
  Series series = {0};
  double start = now_us(CLOCK_MONOTONIC), elapsed = 0;
  while ((series.count < runs || elapsed < min_secs * 1e6) &&
         elapsed < max_secs * 1e6) {
    double cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
    double wall = now_us(CLOCK_MONOTONIC);
    run(s);
    wall = now_us(CLOCK_MONOTONIC) - wall;
    cpu = now_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
    if (!series.count || wall < series.min) series.min = wall;
    if (!series.count || cpu < series.min_cpu) series.min_cpu = cpu;
    if (!series.count) series.first = wall;
    if (wall > series.max) series.max = wall;
    series.curr = wall;
    series.sum += wall;
    series.squares += wall * wall;
    keep(&series, wall);
    elapsed = now_us(CLOCK_MONOTONIC) - start;
  }
  return series;
}

/* Output. */

static void print_series(const char* name, const Series* s) {
  if (!s->count) {
    printf(",\n \"%s\": null", name);
    return;
  }
  double avg = s->sum / s->count;
  qsort(s->samples, s->count, sizeof *s->samples, compare);
  double variance = s->squares / s->count - avg * avg;
  printf(",\n \"%s\": {\"count\": %ld, \"first_us\": %.3f, "
         "\"curr_us\": %.3f, \"min_us\": %.3f, \"max_us\": %.3f, "
         "\"avg_us\": %.4f, \"std_us\": %.3f, \"median_us\": %.3f, "
         "\"p5_us\": %.3f, \"p95_us\": %.3f, \"min_cpu_us\": %.3f}",
         name, s->count, s->first, s->curr, s->min, s->max, avg,
         sqrt(variance > 0 ? variance : 0), percentile(s, 0.5),
         percentile(s, 0.05), percentile(s, 0.95), s->min_cpu);
}

static void print_text(const char* name, const char* text) {
  printf(",\n \"%s\": \"", name);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\')
      printf("\\%c", *text);
    else if ((unsigned char)*text < 32)
      printf("\\u%04x", *text);
    else
      putchar(*text);
  }
  putchar('"');
}

static void print_profile(Session* s, long runs) {
  const char* text = NULL;
  CALL("StartProfiler", (Handle), s->profiler);
  for (long i = 0; i < runs; i++) run(s);
  CALL("StopProfiler", (Handle), s->profiler);
  CALL("GetProfileSummary", (Handle, Handle, const char**), s->profiler,
       s->compiled, &text);
  print_text("profile", text ? text : "");
}

/* Flags. */

typedef struct {
  const char *library, *graph, *output;
  long num_runs, warmup_runs;
  double min_secs, max_secs;
  int profiling, memory;
} Flags;

static int is_true(const char* value) {
  return !strcmp(value, "true") || !strcmp(value, "1");
}

static double number(const char* name, const char* value) {
  char* end;
  double result = strtod(value, &end);
  if (!*value || *end || !(result >= 0))
    fail(BAD_USAGE, "expected a number. Received: %s=%s", name, value);
  return result;
}

/* name:path of each input, in their order, as benchmark_model takes them. */
static void parse_inputs(char* text) {
  size_t count = 0;
  for (char* item = strtok(text, ","); item; item = strtok(NULL, ",")) {
    char* colon = strchr(item, ':');
    if (!colon || count == MAX_TENSORS)
      fail(BAD_USAGE, "expected name:path for each input. Received: %s", item);
    input_files[count++] = colon + 1;
  }
}

static void help(const char* program) {
  const char* names[] = {
      "graph", "library", "num_runs", "warmup_runs", "min_secs", "max_secs",
      "warmup_min_secs", "num_threads", "input_layer_value_files",
      "output_filepath", "enable_op_profiling",
      "report_peak_memory_footprint"};
  printf("usage: %s <flags>\nFlags:\n", program);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    printf("\t--%s=\t%s\n", names[i], i ? "optional" : "required");
  exit(0);
}

static void parse_flag(Flags* flags, const char* word) {
  char name[64];
  const char* value = strchr(word, '=');
  if (strncmp(word, "--", 2) || !value || value - word >= 64)
    fail(BAD_USAGE, "expected --flag=value. Received: %s", word);
  snprintf(name, sizeof name, "%.*s", (int)(value - word), word);
  value++;
  if (!strcmp(name, "--library")) flags->library = value;
  else if (!strcmp(name, "--graph")) flags->graph = value;
  else if (!strcmp(name, "--output_filepath")) flags->output = value;
  else if (!strcmp(name, "--input_layer_value_files"))
    parse_inputs(strdup(value));
  else if (!strcmp(name, "--num_runs")) flags->num_runs = number(name, value);
  else if (!strcmp(name, "--warmup_runs"))
    flags->warmup_runs = number(name, value);
  else if (!strcmp(name, "--min_secs")) flags->min_secs = number(name, value);
  else if (!strcmp(name, "--max_secs")) flags->max_secs = number(name, value);
  else if (!strcmp(name, "--warmup_min_secs")) number(name, value);
  else if (!strcmp(name, "--enable_op_profiling"))
    flags->profiling = is_true(value);
  else if (!strcmp(name, "--report_peak_memory_footprint"))
    flags->memory = is_true(value);
  else if (!strcmp(name, "--num_threads")) {
    if (number(name, value) != 1)
      fail(BAD_USAGE, "this runner has one thread. Received: %s", word);
  } else {
    fail(BAD_USAGE, "unknown flag %s", word);
  }
}

int main(int argc, char** argv) {
  Flags flags = {"libLiteRt.so", NULL, NULL, 50, 1, 1, 150, 0, 0};
  Session session;
  if (argc == 2 && !strcmp(argv[1], "--help")) help(argv[0]);
  for (int i = 1; i < argc; i++) parse_flag(&flags, argv[i]);
  if (!flags.graph) fail(BAD_USAGE, "expected --graph=model.tflite");
  library = dlopen(flags.library, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(BAD_USAGE, "%s", dlerror());
  double init_us = now_us(CLOCK_MONOTONIC);
  open_session(&session, flags.graph, flags.profiling);
  init_us = now_us(CLOCK_MONOTONIC) - init_us;
  Series warm_up = measure(&session, flags.warmup_runs, 0, flags.max_secs);
  Series inference =
      measure(&session, flags.num_runs, flags.min_secs, flags.max_secs);
  printf("{\"format\": \"tfnas-runner/1\"");
  print_text("graph", flags.graph);
  printf(",\n \"init_us\": %.3f", init_us);
  print_series("warm_up", &warm_up);
  print_series("inference", &inference);
  printf(",\n \"output_checksum\": \"%016llx\"",
         (unsigned long long)checksum(&session, flags.output));
  if (flags.memory) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf(",\n \"peak_mb\": %.3f", usage.ru_maxrss / 1024.0);
  }
  if (flags.profiling) print_profile(&session, flags.num_runs);
  printf("}\n");
  fflush(stdout);
  _Exit(0); /* the library's own threads need no ceremony */
}
