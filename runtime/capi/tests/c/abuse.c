/* What a host may do wrong. Nothing crashes, everything is told.
 *
 *   abuse LANGUAGE-MODEL.gguf IMAGE-MODEL.gguf [TEXT-MODEL.gguf|- [SOUND-MODEL.gguf|- [short]]] */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smidgen.h"

static int failures;

#define SAYS(call, expected)                                                                                            \
    do {                                                                                                                \
        smidgen_status says_ = (call);                                                                                  \
        if (says_ != (expected)) {                                                                                      \
            printf("%s:%d: %s: %s (%s), expected %s\n", __FILE__, __LINE__, #call, smidgen_status_name(says_),          \
                   smidgen_error_message(), smidgen_status_name(expected));                                             \
            failures++;                                                                                                 \
        }                                                                                                               \
    } while (0)
#define OK(call) SAYS(call, SMIDGEN_OK)
#define HOLDS(condition)                                                                                                \
    do {                                                                                                                \
        if (!(condition)) {                                                                                             \
            printf("%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                                        \
            failures++;                                                                                                 \
        }                                                                                                               \
    } while (0)

#define PROMPT 64
static uint32_t prompt[PROMPT];
static size_t prompt_length;

/* A text that grows by callbacks. */
typedef struct {
    char text[8192];
    size_t length;
    unsigned calls;
    unsigned stop_after; /* 0: never */
    smidgen_session *session;
    smidgen_model *model;
    unsigned cancel_after;
} Story;

static int32_t collect(void *user, const char *text, size_t length) {
    Story *story = user;
    HOLDS(text[length] == '\0' && strlen(text) == length && length > 0);
    if (story->length + length < sizeof story->text) {
        memcpy(story->text + story->length, text, length + 1);
        story->length += length;
    }
    story->calls++;
    if (story->cancel_after && story->calls == story->cancel_after) {
        OK(smidgen_session_cancel(story->session));
    }
    return story->stop_after && story->calls >= story->stop_after;
}

static smidgen_generate_params params_of(uint32_t tokens) {
    smidgen_generate_params params;
    memset(&params, 0, sizeof params);
    params.size = sizeof params;
    params.max_tokens = tokens;
    params.temperature = 0.8f;
    params.top_p = 0.9f;
    params.seed = 7;
    return params;
}

static smidgen_generate_result run(smidgen_session *session, uint32_t tokens, Story *story) {
    smidgen_generate_params params = params_of(tokens);
    smidgen_generate_result result;
    memset(&result, 0, sizeof result);
    result.size = sizeof result;
    OK(smidgen_generate(session, prompt, prompt_length, &params, collect, story, &result));
    return result;
}

static smidgen_model *open_model(const char *path) {
    smidgen_model *model = NULL;
    OK(smidgen_model_open_path(path, NULL, &model));
    if (!model) {
        exit(1);
    }
    return model;
}

static smidgen_session *open_session(smidgen_model *model, uint32_t threads) {
    smidgen_session_params params = {sizeof params, 256, 0, 0, threads, NULL, 0};
    smidgen_session *session = NULL;
    OK(smidgen_session_open(model, &params, &session));
    return session;
}

/* Every pointer null, alone and together. */
static void nulls(smidgen_model *model, smidgen_session *session) {
    smidgen_model *m = NULL;
    smidgen_session *s = NULL;
    size_t count;
    uint64_t bytes;
    char text[64];
    float value;
    smidgen_message message = {NULL, NULL};
    smidgen_image image;
    smidgen_audio_result sound = {sizeof sound, 0, 0, 0, 0};
    memset(&image, 0, sizeof image);
    SAYS(smidgen_model_open_path(NULL, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_open_path(NULL, NULL, &m), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_open_path("x", NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_open_fd(0, 0, 0, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_open_memory(NULL, 10, NULL, &m), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_open_memory(NULL, 0, NULL, &m), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_close(NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_get_info(NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_get_info(model, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_metadata(NULL, NULL, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_metadata(model, NULL, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_metadata(model, "general.architecture", NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_metadata(model, "general.architecture", NULL, 99, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_model_label(NULL, 0, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_tokenize(NULL, NULL, 0, 0, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_tokenize(model, NULL, 5, 0, NULL, 0, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_tokenize(model, NULL, SMIDGEN_TEXT_END, 0, NULL, 0, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_tokenize(model, "a", 1, 0, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_tokenize(model, "a", 1, 0, NULL, 10, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_detokenize(NULL, NULL, 0, 0, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_detokenize(model, NULL, 3, 0, text, sizeof text, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_chat(NULL, NULL, 0, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_chat(model, NULL, 1, NULL, 0, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_chat(model, &message, 1, NULL, 0, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_open(NULL, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_open(NULL, NULL, &s), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_open(model, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_bytes(NULL, NULL, &bytes), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_bytes(model, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_close(NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_cancel(NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_reset(NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_get_info(NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_get_info(session, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_tokens(NULL, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_tokens(session, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_generate(NULL, NULL, 0, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_generate(session, NULL, 4, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_generate(session, NULL, 0, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_session_save(NULL, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_save(session, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_save_file(NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_save_file(session, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_restore(NULL, NULL, 0), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_restore(session, NULL, 100), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_restore_file(NULL, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_session_restore_file(session, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_embed_text(NULL, "a", 1, &value, 1, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_embed_image(NULL, &image, &value, 1, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_embed_image(session, NULL, &value, 1, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_classify_text(NULL, "a", 1, 0, &value, 1, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_classify_image(session, NULL, 0, &value, 1, &count), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_classify_image(NULL, NULL, 0, NULL, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_classify_audio(NULL, NULL, 0, 0, NULL), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_classify_audio(session, NULL, 5, 0, &sound), SMIDGEN_ERROR_NULL);
    SAYS(smidgen_classify_audio(session, NULL, 0, 0, NULL), SMIDGEN_ERROR_NULL);
    HOLDS(strlen(smidgen_error_message()) > 0);
    HOLDS(strcmp(smidgen_status_name(12345), "unknown") == 0);
    HOLDS(smidgen_abi_version() >> 16 == SMIDGEN_ABI_VERSION >> 16 && strlen(smidgen_version()) > 0);
}

/* Handles that are none, closed ones, and ones of another kind. */
static void handles(const char *path) {
    smidgen_model *model = open_model(path), *other;
    smidgen_session *session = open_session(model, 1), *later;
    int local = 0;
    SAYS(smidgen_session_close((smidgen_session *)(void *)model), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_model_close((smidgen_model *)(void *)session), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_model_close((smidgen_model *)(void *)&local), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_model_close((smidgen_model *)(uintptr_t)-1), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_session_cancel((smidgen_session *)(uintptr_t)2), SMIDGEN_ERROR_HANDLE);
    OK(smidgen_model_close(model));
    SAYS(smidgen_model_close(model), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_session_open(model, NULL, &later), SMIDGEN_ERROR_HANDLE);
    HOLDS(later == NULL);
    /* The session lives on without its model's handle, and the place in the table is given away again. */
    other = open_model(path);
    HOLDS(other != model);
    SAYS(smidgen_model_close(model), SMIDGEN_ERROR_HANDLE);
    {
        Story story;
        memset(&story, 0, sizeof story);
        run(session, 4, &story);
    }
    OK(smidgen_session_close(session));
    SAYS(smidgen_session_close(session), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_session_cancel(session), SMIDGEN_ERROR_HANDLE);
    SAYS(smidgen_generate(session, prompt, prompt_length, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_HANDLE);
    OK(smidgen_model_close(other));
}

/* Sizes of structs, buffers, texts, ranges. */
static void sizes(smidgen_model *model, smidgen_session *session) {
    smidgen_model_info info = {0, 0, 0, 0, 0, 0, 0, 0};
    smidgen_generate_params params = params_of(4);
    smidgen_session_params wanted = {sizeof wanted, 0, 0, 0, 1, NULL, 0};
    smidgen_session *none;
    struct {
        smidgen_session_params known;
        uint64_t newer;
    } later = {{sizeof later, 64, 0, 0, 1, NULL, 0}, 0};
    uint32_t tokens[16], outside = 0x7fffffff, cpu = 0, no_cpu = 100000;
    const char *broken[] = {"fine", "\xff\xfe"};
    char text[8], tight[6];
    size_t count = 0;
    uint64_t bytes = 0;
    SAYS(smidgen_model_get_info(model, &info), SMIDGEN_ERROR_ARGUMENT);
    info.size = (size_t)-1;
    SAYS(smidgen_model_get_info(model, &info), SMIDGEN_ERROR_ARGUMENT);
    info.size = sizeof info;
    OK(smidgen_model_get_info(model, &info));
    HOLDS(info.abilities == SMIDGEN_CAN_GENERATE && info.vocabulary > 0 && info.context > 0 && info.bytes > 0);
    params.size = 3;
    SAYS(smidgen_generate(session, prompt, prompt_length, &params, NULL, NULL, NULL), SMIDGEN_ERROR_ARGUMENT);
    params = params_of(4);
    params.flags = 8;
    SAYS(smidgen_generate(session, prompt, prompt_length, &params, NULL, NULL, NULL), SMIDGEN_ERROR_UNSUPPORTED);
    params = params_of(4);
    params.top_p = -1;
    SAYS(smidgen_generate(session, prompt, prompt_length, &params, NULL, NULL, NULL), SMIDGEN_ERROR_ARGUMENT);
    params = params_of(4);
    params.stops = broken;
    params.stop_count = 2;
    SAYS(smidgen_generate(session, prompt, prompt_length, &params, NULL, NULL, NULL), SMIDGEN_ERROR_TEXT);
    SAYS(smidgen_generate(session, &outside, 1, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_generate(session, (const uint32_t *)(const void *)((const char *)prompt + 1), 2, NULL, NULL, NULL, NULL),
         SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_generate(session, prompt, (size_t)-1, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_ARGUMENT);
    /* Newer structs, with and without something that this version does not know. */
    OK(smidgen_session_open(model, &later.known, &none));
    OK(smidgen_session_close(none));
    later.newer = 1;
    SAYS(smidgen_session_open(model, &later.known, &none), SMIDGEN_ERROR_UNSUPPORTED);
    wanted.kv = 9;
    SAYS(smidgen_session_open(model, &wanted, &none), SMIDGEN_ERROR_ARGUMENT);
    wanted.kv = 0;
    wanted.context = 0xffffffff;
    SAYS(smidgen_session_open(model, &wanted, &none), SMIDGEN_ERROR_MEMORY);
    SAYS(smidgen_session_bytes(model, &wanted, &bytes), SMIDGEN_ERROR_MEMORY);
    wanted.context = 64;
    OK(smidgen_session_bytes(model, &wanted, &bytes));
    HOLDS(bytes > 0);
    wanted.threads = 100000;
    SAYS(smidgen_session_open(model, &wanted, &none), SMIDGEN_ERROR_THREADS);
    wanted.threads = 2;
    wanted.cpus = &no_cpu;
    wanted.cpu_count = 1;
    SAYS(smidgen_session_open(model, &wanted, &none), SMIDGEN_ERROR_THREADS);
    wanted.cpus = &cpu;
    OK(smidgen_session_open(model, &wanted, &none));
    OK(smidgen_session_close(none));
    /* Buffers. */
    SAYS(smidgen_tokenize(model, "Once upon a time", SMIDGEN_TEXT_END, 0, tokens, 1, &count), SMIDGEN_ERROR_SHORT_BUFFER);
    HOLDS(count > 1 && count <= 16);
    OK(smidgen_tokenize(model, "Once upon a time", SMIDGEN_TEXT_END, 0, tokens, 16, &count));
    SAYS(smidgen_detokenize(model, tokens, count, 0, text, sizeof text, &count), SMIDGEN_ERROR_SHORT_BUFFER);
    HOLDS(count == strlen("Once upon a time"));
    OK(smidgen_tokenize(model, "", 0, 0, NULL, 0, &count));
    HOLDS(count == 0);
    SAYS(smidgen_tokenize(model, "\xc3", 1, 0, tokens, 16, &count), SMIDGEN_ERROR_TEXT);
    SAYS(smidgen_tokenize(model, "a", 1, 64, tokens, 16, &count), SMIDGEN_ERROR_UNSUPPORTED);
    SAYS(smidgen_detokenize(model, &outside, 1, 0, text, sizeof text, &count), SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_model_metadata(model, "general.architecture", tight, 5, &count), SMIDGEN_ERROR_SHORT_BUFFER);
    OK(smidgen_model_metadata(model, "general.architecture", tight, 6, &count));
    HOLDS(strcmp(tight, "llama") == 0 && count == 5);
    SAYS(smidgen_model_metadata(model, "no.such.key", tight, 6, &count), SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_model_label(model, 0, tight, 6, &count), SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_session_cancel(session), SMIDGEN_ERROR_IDLE);
    {
        float value;
        smidgen_audio_result sound = {sizeof sound, 0, 0, 0, 0};
        SAYS(smidgen_embed_text(session, "a", 1, &value, 1, &count), SMIDGEN_ERROR_UNSUPPORTED);
        SAYS(smidgen_classify_audio(session, NULL, 0, 0, &sound), SMIDGEN_ERROR_UNSUPPORTED);
    }
}

static int32_t refuse(void *user, uint64_t done, uint64_t total) {
    unsigned *calls = user;
    HOLDS(done <= total);
    return ++*calls > 1;
}

static int32_t count_up(void *user, uint64_t done, uint64_t total) {
    uint64_t *last = user;
    HOLDS(done >= *last && done <= total);
    *last = done;
    return 0;
}

/* Files that are none, ranges, memory, kernels. */
static void openings(const char *path) {
    smidgen_model *model = NULL;
    smidgen_model_params params = {sizeof params, NULL, NULL, NULL, 0};
    smidgen_model_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0};
    unsigned calls = 0;
    uint64_t last = 0, offset = 4099;
    char name[] = "/tmp/smidgen-abuse-XXXXXX", *bytes;
    int fd, whole = open(path, O_RDONLY);
    long length = (long)lseek(whole, 0, SEEK_END);
    SAYS(smidgen_model_open_path("/no/such/file", NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_path("/", NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_path("/dev/null", NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_path("\xff", NULL, &model), SMIDGEN_ERROR_TEXT);
    SAYS(smidgen_model_open_path("/proc/self/exe", NULL, &model), SMIDGEN_ERROR_FORMAT);
    SAYS(smidgen_model_open_fd(-1, 0, 0, NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_fd(9999, 0, 0, NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_fd(whole, 0, (uint64_t)length + 1, NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_fd(whole, UINT64_MAX, 0, NULL, &model), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_model_open_fd(whole, 1, 0, NULL, &model), SMIDGEN_ERROR_FORMAT);
    SAYS(smidgen_model_open_fd(whole, 0, 1000, NULL, &model), SMIDGEN_ERROR_FORMAT);
    OK(smidgen_model_open_fd(whole, 0, 0, NULL, &model));
    OK(smidgen_model_close(model));
    params.target = "abacus";
    SAYS(smidgen_model_open_path(path, &params, &model), SMIDGEN_ERROR_UNSUPPORTED);
    params.target = "scalar";
    params.progress = refuse;
    params.progress_user = &calls;
    SAYS(smidgen_model_open_path(path, &params, &model), SMIDGEN_ERROR_CANCELLED);
    HOLDS(calls == 2 && model == NULL);
    params.flags = 1 << 20;
    SAYS(smidgen_model_open_path(path, &params, &model), SMIDGEN_ERROR_UNSUPPORTED);
    params.flags = 0;
    params.progress = count_up;
    params.progress_user = &last;
    OK(smidgen_model_open_path(path, &params, &model));
    HOLDS(last == (uint64_t)length);
    OK(smidgen_model_close(model));
    /* In memory: copied, and at an odd address. */
    bytes = malloc((size_t)length + 1);
    HOLDS(pread(whole, bytes + 1, (size_t)length, 0) == length);
    params.progress = NULL;
    params.flags = SMIDGEN_OPEN_COPY;
    OK(smidgen_model_open_memory((const uint8_t *)bytes + 1, (size_t)length, &params, &model));
    /* An asset inside of another file, at an odd place. */
    fd = mkstemp(name);
    HOLDS(fd >= 0 && unlink(name) == 0);
    HOLDS(pwrite(fd, bytes + 1, (size_t)length, (off_t)offset) == length && pwrite(fd, "behind", 6, (off_t)offset + length) == 6);
    memset(bytes, 0, (size_t)length + 1);
    OK(smidgen_model_get_info(model, &info));
    OK(smidgen_model_close(model));
    OK(smidgen_model_open_fd(fd, offset, (uint64_t)length, NULL, &model));
    close(fd);
    free(bytes);
    close(whole);
    {
        smidgen_session *session = open_session(model, 1);
        Story story;
        memset(&story, 0, sizeof story);
        run(session, 8, &story);
        HOLDS(story.length > 0);
        OK(smidgen_session_close(session));
    }
    OK(smidgen_model_close(model));
}

static void *cancel_from_outside(void *user) {
    Story *story = user;
    smidgen_status status;
    struct timespec pause = {0, 1000000};
    do {
        nanosleep(&pause, NULL);
        status = smidgen_session_cancel(story->session);
    } while (status == SMIDGEN_ERROR_IDLE);
    OK(status);
    return NULL;
}

static int32_t call_in(void *user, const char *text, size_t length) {
    Story *story = user;
    size_t count;
    uint32_t tokens[64];
    smidgen_session_info info = {sizeof info, 0, 0, 0, 0, 0};
    (void)text;
    (void)length;
    SAYS(smidgen_generate(story->session, prompt, prompt_length, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_REENTRANT);
    SAYS(smidgen_session_close(story->session), SMIDGEN_ERROR_REENTRANT);
    SAYS(smidgen_session_get_info(story->session, &info), SMIDGEN_ERROR_REENTRANT);
    SAYS(smidgen_session_reset(story->session), SMIDGEN_ERROR_REENTRANT);
    OK(smidgen_tokenize(story->model, "allowed", SMIDGEN_TEXT_END, 0, tokens, 64, &count));
    story->calls++;
    return 0;
}

static void *use_from_outside(void *user) {
    Story *story = user;
    SAYS(smidgen_generate(story->session, prompt, prompt_length, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_BUSY);
    SAYS(smidgen_session_close(story->session), SMIDGEN_ERROR_BUSY);
    return NULL;
}

static int32_t let_another_in(void *user, const char *text, size_t length) {
    pthread_t thread;
    (void)text;
    (void)length;
    HOLDS(pthread_create(&thread, NULL, use_from_outside, user) == 0);
    pthread_join(thread, NULL);
    return 1;
}

/* Ends: asked for by the callback, by another thread, by the callback through the library. */
static void ends(smidgen_model *model) {
    smidgen_session *session = open_session(model, 2);
    smidgen_generate_params params = params_of(3);
    smidgen_generate_result result;
    Story story;
    pthread_t thread;
    memset(&story, 0, sizeof story);
    story.session = session;
    story.stop_after = 3;
    result = run(session, 0, &story);
    HOLDS(result.finish == SMIDGEN_FINISH_CANCELLED && story.calls == 3);
    memset(&story, 0, sizeof story);
    story.session = session;
    story.cancel_after = 2;
    result = run(session, 0, &story);
    HOLDS(result.finish == SMIDGEN_FINISH_CANCELLED && story.calls == 2);
    SAYS(smidgen_session_cancel(session), SMIDGEN_ERROR_IDLE);
    memset(&story, 0, sizeof story);
    story.session = session;
    HOLDS(pthread_create(&thread, NULL, cancel_from_outside, &story) == 0);
    do {
        story.length = story.calls = 0;
        result = run(session, 0, &story);
    } while (result.finish != SMIDGEN_FINISH_CANCELLED);
    pthread_join(thread, NULL);
    memset(&story, 0, sizeof story);
    story.session = session;
    story.model = model;
    OK(smidgen_generate(session, prompt, prompt_length, &params, call_in, &story, NULL));
    HOLDS(story.calls > 0);
    OK(smidgen_generate(session, prompt, prompt_length, &params, let_another_in, &story, NULL));
    OK(smidgen_session_close(session));
}

typedef struct {
    smidgen_model *model;
    Story story;
    uint64_t seed;
} Half;

static void *tell(void *user) {
    Half *half = user;
    smidgen_session *session = open_session(half->model, 2);
    smidgen_generate_params params = params_of(60);
    params.seed = half->seed;
    memset(&half->story, 0, sizeof half->story);
    OK(smidgen_generate(session, prompt, prompt_length, &params, collect, &half->story, NULL));
    OK(smidgen_session_close(session));
    return NULL;
}

/* Two sessions of one model on two threads give the bits that each gives alone; so does a state that was saved. */
static void together(smidgen_model *model) {
    static Half alone[2], both[2];
    pthread_t threads[2];
    int i;
    for (i = 0; i < 2; i++) {
        alone[i].model = both[i].model = model;
        alone[i].seed = both[i].seed = (uint64_t)i + 1;
        tell(&alone[i]);
    }
    for (i = 0; i < 2; i++) {
        HOLDS(pthread_create(&threads[i], NULL, tell, &both[i]) == 0);
    }
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        HOLDS(alone[i].story.length > 0 && strcmp(alone[i].story.text, both[i].story.text) == 0);
    }
    HOLDS(strcmp(alone[0].story.text, alone[1].story.text) != 0);
}

static void states(smidgen_model *model, smidgen_model *stranger) {
    smidgen_session *first = open_session(model, 1), *second = open_session(model, 2);
    char name[] = "/tmp/smidgen-state-XXXXXX";
    static Story told, again;
    uint8_t *state;
    size_t length = 0, count = 0;
    uint32_t tokens[256];
    smidgen_generate_result result;
    int fd = mkstemp(name);
    HOLDS(fd >= 0);
    memset(&told, 0, sizeof told);
    run(first, 20, &told);
    SAYS(smidgen_session_save(first, NULL, 0, &length), SMIDGEN_ERROR_SHORT_BUFFER);
    state = malloc(length);
    SAYS(smidgen_session_save(first, state, length - 1, &length), SMIDGEN_ERROR_SHORT_BUFFER);
    OK(smidgen_session_save(first, state, length, &length));
    OK(smidgen_session_save_file(first, name));
    SAYS(smidgen_session_save_file(first, "/no/such/folder/x"), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_session_restore(second, state, length - 1), SMIDGEN_ERROR_STATE);
    SAYS(smidgen_session_restore(second, state, 7), SMIDGEN_ERROR_STATE);
    state[length / 2] ^= 1;
    SAYS(smidgen_session_restore(second, state, length), SMIDGEN_ERROR_STATE);
    state[length / 2] ^= 1;
    OK(smidgen_session_restore(second, state, length));
    OK(smidgen_session_tokens(second, tokens, 256, &count));
    HOLDS(count == prompt_length + 19 && memcmp(tokens, prompt, prompt_length * sizeof *prompt) == 0);
    memset(&again, 0, sizeof again);
    result = run(second, 20, &again);
    HOLDS(result.reused == prompt_length - 1 && result.computed == 1 && result.generated == 20);
    HOLDS(told.length > 0 && strcmp(told.text, again.text) == 0);
    OK(smidgen_session_reset(second));
    OK(smidgen_session_restore_file(second, name));
    SAYS(smidgen_session_restore_file(second, "/no/such/file"), SMIDGEN_ERROR_FILE);
    SAYS(smidgen_session_restore_file(second, "/dev/zero"), SMIDGEN_ERROR_FILE);
    OK(smidgen_session_close(second));
    second = open_session(stranger, 1);
    SAYS(smidgen_session_restore(second, state, length), SMIDGEN_ERROR_UNSUPPORTED);
    OK(smidgen_session_close(second));
    OK(smidgen_session_close(first));
    free(state);
    close(fd);
    unlink(name);
}

/* A host with another floating-point environment gets it back, and the same text. */
static void rounding(smidgen_model *model) {
    smidgen_session *session = open_session(model, 2);
    static Story plain, odd;
    memset(&plain, 0, sizeof plain);
    memset(&odd, 0, sizeof odd);
    run(session, 40, &plain);
    OK(smidgen_session_close(session));
    fesetround(FE_UPWARD);
    session = open_session(model, 2);
    run(session, 40, &odd);
    HOLDS(fegetround() == FE_UPWARD);
    OK(smidgen_session_close(session));
    fesetround(FE_TONEAREST);
    HOLDS(strcmp(plain.text, odd.text) == 0);
}

static long resident(void) {
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%ld %ld", &ignored, &pages) != 2) {
            pages = 0;
        }
        fclose(file);
    }
    return pages;
}

static long descriptors(void) {
    long i, count = 0;
    for (i = 0; i < 1024; i++) {
        count += fcntl((int)i, F_GETFD) >= 0;
    }
    return count;
}

/* Opening and closing leaves nothing behind. */
static void cycles(const char *path, int times) {
    long before = 0, files = descriptors();
    int i;
    for (i = 0; i < times; i++) {
        smidgen_model *model = open_model(path);
        smidgen_session *session = open_session(model, i % 100 == 0 ? 2 : 1);
        smidgen_generate_params params = params_of(1);
        OK(smidgen_generate(session, prompt, 2, &params, NULL, NULL, NULL));
        OK(smidgen_session_close(session));
        OK(smidgen_model_close(model));
        if (i == times / 4) {
            before = resident();
        }
    }
    HOLDS(descriptors() == files);
    printf("%d openings: %ld pages resident after a quarter, %ld at the end\n", times, before, resident());
    HOLDS(times < 100 || resident() < before + 64);
}

static void images(const char *path) {
    smidgen_model *model = open_model(path);
    smidgen_session *session = open_session(model, 1);
    smidgen_model_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0};
    smidgen_image image = {sizeof image, NULL, 0, 0, 20, 10};
    uint8_t pixels[10 * 64];
    float scores[64], again[64], sum = 0;
    char label[64];
    size_t count = 0, i;
    for (i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 37);
    }
    OK(smidgen_model_get_info(model, &info));
    HOLDS((info.abilities & SMIDGEN_CAN_SEE) && (info.abilities & SMIDGEN_CAN_CLASSIFY) && info.classes == 10);
    SAYS(smidgen_classify_image(session, &image, 0, scores, 64, &count), SMIDGEN_ERROR_NULL);
    image.pixels = pixels;
    SAYS(smidgen_classify_image(session, &image, 0, scores, 64, &count), SMIDGEN_ERROR_ARGUMENT);
    image.length = sizeof pixels;
    image.stride = 59;
    SAYS(smidgen_classify_image(session, &image, 0, scores, 64, &count), SMIDGEN_ERROR_ARGUMENT);
    image.stride = 65;
    SAYS(smidgen_classify_image(session, &image, 0, scores, 64, &count), SMIDGEN_ERROR_ARGUMENT);
    image.stride = 64;
    SAYS(smidgen_classify_image(session, &image, 4, scores, 64, &count), SMIDGEN_ERROR_UNSUPPORTED);
    SAYS(smidgen_classify_image(session, &image, 0, scores, 9, &count), SMIDGEN_ERROR_SHORT_BUFFER);
    HOLDS(count == 10);
    OK(smidgen_classify_image(session, &image, 0, scores, 64, &count));
    for (i = 0; i < count; i++) {
        sum += scores[i];
        OK(smidgen_model_label(model, (uint32_t)i, label, sizeof label, &(size_t){0}));
    }
    HOLDS(sum > 0.999f && sum < 1.001f);
    for (i = 1; i < 10; i++) {
        memmove(pixels + 60 * i, pixels + 64 * i, 60);
    }
    image.stride = 0;
    image.length = 600;
    OK(smidgen_classify_image(session, &image, 0, again, 64, &count));
    HOLDS(memcmp(scores, again, count * sizeof *scores) == 0);
    SAYS(smidgen_embed_image(session, &image, scores, 64, &count), SMIDGEN_ERROR_SHORT_BUFFER);
    HOLDS(count == info.width);
    image.width = image.height = 0xffffffff;
    SAYS(smidgen_classify_image(session, &image, 0, again, 64, &count), SMIDGEN_ERROR_ARGUMENT);
    image.width = image.height = 0;
    SAYS(smidgen_classify_image(session, &image, 0, again, 64, &count), SMIDGEN_ERROR_ARGUMENT);
    SAYS(smidgen_generate(session, prompt, 1, NULL, NULL, NULL, NULL), SMIDGEN_ERROR_UNSUPPORTED);
    OK(smidgen_session_close(session));
    OK(smidgen_model_close(model));
}

static void texts(const char *path) {
    smidgen_model *model = open_model(path);
    smidgen_session *session = open_session(model, 1);
    static float values[4096], again[4096];
    size_t count = 0;
    SAYS(smidgen_embed_text(session, "A text.", SMIDGEN_TEXT_END, values, 3, &count), SMIDGEN_ERROR_SHORT_BUFFER);
    OK(smidgen_embed_text(session, "A text.", SMIDGEN_TEXT_END, values, 4096, &count));
    OK(smidgen_embed_text(session, "A text. But only its beginning", 7, again, 4096, &count));
    HOLDS(count > 0 && memcmp(values, again, count * sizeof *values) == 0);
    SAYS(smidgen_embed_text(session, "\xff", 1, values, 4096, &count), SMIDGEN_ERROR_TEXT);
    OK(smidgen_session_close(session));
    OK(smidgen_model_close(model));
}

static void sounds(const char *path) {
    smidgen_model *model = open_model(path);
    smidgen_session *session = open_session(model, 1);
    static int16_t pcm[16000];
    smidgen_audio_result whole = {sizeof whole, 0, 0, 0, 0}, half = whole;
    size_t i;
    for (i = 0; i < 16000; i++) {
        pcm[i] = (int16_t)(i * i * 31);
    }
    OK(smidgen_classify_audio(session, pcm, 16000, 0, &whole));
    HOLDS(whole.steps > 10 && whole.last <= whole.largest && whole.largest <= 1);
    OK(smidgen_classify_audio(session, pcm, 7001, SMIDGEN_AUDIO_BEGIN, &half));
    OK(smidgen_classify_audio(session, pcm + 7001, 8999, 0, &half));
    HOLDS(half.last == whole.last);
    SAYS(smidgen_classify_audio(session, pcm, 1, 2, &half), SMIDGEN_ERROR_UNSUPPORTED);
    OK(smidgen_session_reset(session));
    OK(smidgen_session_close(session));
    OK(smidgen_model_close(model));
}

static unsigned lines;

static void logger(void *user, uint32_t level, const char *line) {
    HOLDS(*(int *)user == 5 && level >= SMIDGEN_LOG_INFO && strlen(line) > 0);
    /* What a logger does wrong is not logged. */
    SAYS(smidgen_model_close(NULL), SMIDGEN_ERROR_NULL);
    lines++;
}

int main(int argc, char **argv) {
    static int five = 5;
    int quick = argc > 5;
    smidgen_model *model, *images_model;
    smidgen_session *session;
    if (argc < 3) {
        fprintf(stderr, "usage: abuse LANGUAGE-MODEL IMAGE-MODEL [TEXT-MODEL|- [SOUND-MODEL|- [short]]]\n");
        return 2;
    }
    HOLDS(strcmp(smidgen_error_message(), "") == 0);
    OK(smidgen_set_logger(logger, &five, SMIDGEN_LOG_INFO));
    model = open_model(argv[1]);
    images_model = open_model(argv[2]);
    session = open_session(model, 1);
    OK(smidgen_tokenize(model, "Once upon a time, there was a", SMIDGEN_TEXT_END, SMIDGEN_TOKENS_FRAMED, prompt, PROMPT, &prompt_length));
    HOLDS(lines >= 3);
    nulls(model, session);
    sizes(model, session);
    OK(smidgen_set_logger(NULL, NULL, 0));
    lines = 0;
    handles(argv[1]);
    openings(argv[1]);
    ends(model);
    together(model);
    states(model, images_model);
    rounding(model);
    images(argv[2]);
    if (argc > 3 && strcmp(argv[3], "-") != 0) {
        texts(argv[3]);
    }
    if (argc > 4 && strcmp(argv[4], "-") != 0) {
        sounds(argv[4]);
    }
    OK(smidgen_session_close(session));
    OK(smidgen_model_close(images_model));
    OK(smidgen_model_close(model));
    cycles(argv[1], quick ? 20 : 1000);
    HOLDS(lines == 0);
    printf("%s: %d failures\n", argv[0], failures);
    return failures != 0;
}
