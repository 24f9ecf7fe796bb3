/* What happens when the system refuses memory: every call ends with a status, nothing is lost, and afterwards all is as before.
 *
 *   refused each MODEL.gguf [every]     each request (or every so many-th) is refused in turn, alone, and then with all after it
 *   refused limits MODEL.gguf STEP      as with `ulimit -v`: the address space ends after STEP more bytes, then after 2 STEP, ...
 *
 * Requests of less than 64 bytes are granted in the first: Rust's library makes threads with such, past the library's allocator.
 * Linked with the static library and -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=free. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "smidgen.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **place, size_t align, size_t size);
void __real_free(void *place);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long held;              /* pieces that have not been given back */
static long asked, refuse = -1; /* number of the request, and of the one that is refused */
static int and_all_after, hit;

static int refused(size_t size) {
    int answer;
    if (size < 64) {
        return 0;
    }
    pthread_mutex_lock(&lock);
    answer = refuse >= 0 && (asked == refuse || (and_all_after && asked > refuse));
    asked++;
    hit |= answer;
    pthread_mutex_unlock(&lock);
    return answer;
}

static void *count(void *place, long change) {
    if (place) {
        pthread_mutex_lock(&lock);
        held += change;
        pthread_mutex_unlock(&lock);
    }
    return place;
}

void *__wrap_malloc(size_t size) { return refused(size) ? NULL : count(__real_malloc(size), 1); }
void *__wrap_calloc(size_t n, size_t size) { return refused(n * size) ? NULL : count(__real_calloc(n, size), 1); }
void *__wrap_realloc(void *old, size_t size) { return refused(size) ? NULL : count(__real_realloc(old, size), old ? 0 : 1); }
void __wrap_free(void *place) { __real_free(count(place, -1)); }

int __wrap_posix_memalign(void **place, size_t align, size_t size) {
    int failed = refused(size) ? 12 : __real_posix_memalign(place, align, size);
    if (!failed) {
        count(*place, 1);
    }
    return failed;
}

/* What a life gave. */
typedef struct {
    char text[4096];
    float values[4096];
    size_t length, count;
    const char *at; /* the call that failed */
} Yield;

static int32_t collect(void *user, const char *text, size_t length) {
    Yield *yield = user;
    if (yield->length + length < sizeof yield->text) {
        memcpy(yield->text + yield->length, text, length + 1);
        yield->length += length;
    }
    return 0;
}

#define TRY(call)                                                                                                       \
    if (status == SMIDGEN_OK && (status = (call)) != SMIDGEN_OK) {                                                      \
        yield->at = #call;                                                                                              \
    }

/* Opens a model, does with it what it can, and closes it. */
static smidgen_status live(const char *path, uint32_t context, uint32_t threads, Yield *yield) {
    static uint32_t tokens[256];
    static uint8_t state[1 << 22];
    static uint8_t pixels[8 * 8 * 3];
    static int16_t pcm[8000];
    smidgen_model *model = NULL;
    smidgen_session *session = NULL;
    smidgen_model_info info = {sizeof info, 0, 0, 0, 0, 0, 0, 0};
    smidgen_session_params wanted = {sizeof wanted, context, 0, 0, threads, NULL, 0};
    smidgen_generate_params params = {sizeof params, 8, 0.8f, 40, 0.95f, 0, 1.1f, 0, 0, 0, 0, 7, NULL, 0};
    smidgen_message message = {"user", "Hello."};
    smidgen_image image = {sizeof image, pixels, sizeof pixels, 0, 8, 8};
    smidgen_audio_result sound = {sizeof sound, 0, 0, 0, 0};
    size_t length = 0;
    smidgen_status status = SMIDGEN_OK;
    memset(yield, 0, sizeof *yield);
    TRY(smidgen_model_open_path(path, NULL, &model))
    TRY(smidgen_model_get_info(model, &info))
    TRY(smidgen_session_open(model, &wanted, &session))
    if (info.abilities & SMIDGEN_CAN_GENERATE) {
        TRY(smidgen_tokenize(model, "Once upon a time", SMIDGEN_TEXT_END, 0, tokens, 256, &length))
        if (info.abilities & SMIDGEN_CAN_CHAT) {
            TRY(smidgen_chat(model, &message, 1, tokens, 256, &length))
        }
        TRY(smidgen_generate(session, tokens, length, &params, collect, yield, NULL))
        if (context <= 64) {
            TRY(smidgen_session_save(session, state, sizeof state, &yield->count))
            TRY(smidgen_session_restore(session, state, yield->count))
        }
    }
    if (info.abilities & SMIDGEN_CAN_READ) {
        TRY(smidgen_embed_text(session, "Once upon a time", SMIDGEN_TEXT_END, yield->values, 4096, &yield->count))
    }
    if (info.abilities & SMIDGEN_CAN_SEE) {
        TRY(smidgen_classify_image(session, &image, 0, yield->values, 4096, &yield->count))
    }
    if (info.abilities & SMIDGEN_CAN_HEAR) {
        TRY(smidgen_classify_audio(session, pcm, 8000, 0, &sound))
        yield->values[0] = sound.largest;
    }
    /* Closing never fails. */
    if ((session && smidgen_session_close(session)) || (model && smidgen_model_close(model))) {
        printf("closing failed: %s\n", smidgen_error_message());
        exit(1);
    }
    return status;
}

/* Waits for the ends of threads that have been told to end. */
static void settle(void) {
    struct timespec pause = {0, 100000};
    char line[256];
    int threads = 0;
    while (threads != 1) {
        FILE *file = fopen("/proc/self/status", "r");
        while (file && fgets(line, sizeof line, file)) {
            sscanf(line, "Threads: %d", &threads);
        }
        if (!file || threads == 1) {
            threads = 1;
        } else {
            nanosleep(&pause, NULL);
        }
        if (file) {
            fclose(file);
        }
    }
}

static int is_honest(smidgen_status status) {
    return status == SMIDGEN_ERROR_MEMORY || status == SMIDGEN_ERROR_THREADS || status == SMIDGEN_ERROR_FILE;
}

static int same(const Yield *a, const Yield *b) {
    return a->length == b->length && strcmp(a->text, b->text) == 0 && memcmp(a->values, b->values, sizeof a->values) == 0;
}

/* One life for each request that is refused. With one thread nothing may be lost; what is left of ended threads goes later. */
static long lives(const char *path, long every, uint32_t threads, const Yield *wanted, long *failed) {
    static Yield yield;
    long before, number, count = 0;
    settle();
    before = held;
    for (number = 0, hit = 1; hit; number += every, count++) {
        smidgen_status status;
        asked = hit = 0;
        refuse = number;
        status = live(path, 64, threads, &yield);
        refuse = -1;
        settle();
        *failed += status != SMIDGEN_OK;
        if (status ? !is_honest(status) : !same(&yield, wanted)) {
            printf("request %ld: %s: %s (%s)\n", number, yield.at, smidgen_status_name(status), smidgen_error_message());
            exit(1);
        }
        if (threads == 1 && held != before) {
            printf("request %ld: %s (%s): %ld pieces are lost\n", number, smidgen_status_name(status), yield.at, held - before);
            exit(1);
        }
    }
    return count;
}

static int each(const char *path, long every) {
    static Yield wanted, yield;
    long failed = 0, count = 0;
    uint32_t threads;
    /* What is made once for the process is there afterwards. */
    if (live(path, 64, 1, &wanted) || live(path, 64, 1, &wanted)) {
        printf("%s: %s\n", wanted.at, smidgen_error_message());
        return 1;
    }
    for (threads = 1; threads <= 2; threads++) {
        for (and_all_after = 0; and_all_after < 2; and_all_after++) {
            count += lives(path, every, threads, &wanted, &failed);
        }
    }
    if (live(path, 64, 2, &yield) || !same(&yield, &wanted)) {
        printf("afterwards: %s\n", smidgen_error_message());
        return 1;
    }
    printf("%ld lives, %ld of them ended by a refusal with a status, nothing lost\n", count, failed);
    return failed == 0;
}

static long address_space(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%ld", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static int limits(const char *path, long step) {
    static Yield yield;
    long extra;
    int lives = 0, outcome = -1;
    for (extra = 0; outcome != 0; extra += step, lives++) {
        pid_t child = fork();
        if (child == 0) {
            struct rlimit limit;
            smidgen_status status;
            limit.rlim_cur = limit.rlim_max = (rlim_t)(address_space() + extra);
            if (setrlimit(RLIMIT_AS, &limit)) {
                _exit(3);
            }
            status = live(path, 0, 2, &yield);
            _exit(status == SMIDGEN_OK ? 0 : is_honest(status) ? 10 : 1);
        }
        if (child < 0 || waitpid(child, &outcome, 0) != child || !WIFEXITED(outcome) || (WEXITSTATUS(outcome) != 0 && WEXITSTATUS(outcome) != 10)) {
            printf("with %ld more bytes of address space: wait status %d\n", extra, outcome);
            return 1;
        }
    }
    printf("%d limits, the last one %ld bytes: a status under each\n", lives, extra - step);
    return lives < 3;
}

int main(int argc, char **argv) {
    if (argc >= 3 && strcmp(argv[1], "each") == 0) {
        return each(argv[2], argc > 3 ? atol(argv[3]) : 1);
    }
    if (argc == 4 && strcmp(argv[1], "limits") == 0) {
        return limits(argv[2], atol(argv[3]));
    }
    fprintf(stderr, "usage: refused each MODEL [every] | refused limits MODEL STEP\n");
    return 2;
}
