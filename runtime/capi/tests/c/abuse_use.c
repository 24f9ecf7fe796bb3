/* What a host may do wrong while models work. */
#include "abuse.h"

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
    {
        /* Another session of the same model is another matter. */
        smidgen_session *other = open_session(story->model, 1);
        Story inner;
        memset(&inner, 0, sizeof inner);
        run(other, 2, &inner);
        OK(smidgen_session_close(other));
    }
    story->calls++;
    return 0;
}

/* The session goes on without its model's handle. */
static int32_t close_model(void *user, const char *text, size_t length) {
    Story *story = user;
    if (story->model) {
        OK(smidgen_model_close(story->model));
        story->model = NULL;
    }
    return collect(user, text, length);
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
void ends(smidgen_model *model, const char *path, int times) {
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
    /* Often, for it may come at any moment: whenever it was told to be cancelled, the generation says that it was. */
    while (times-- > 0) {
        memset(&story, 0, sizeof story);
        story.session = session;
        HOLDS(pthread_create(&thread, NULL, cancel_from_outside, &story) == 0);
        do {
            story.length = story.calls = 0;
            result = run(session, 0, &story);
        } while (result.finish != SMIDGEN_FINISH_CANCELLED);
        pthread_join(thread, NULL);
    }
    memset(&story, 0, sizeof story);
    story.session = session;
    story.model = model;
    OK(smidgen_generate(session, prompt, prompt_length, &params, call_in, &story, NULL));
    HOLDS(story.calls > 0);
    OK(smidgen_generate(session, prompt, prompt_length, &params, let_another_in, &story, NULL));
    OK(smidgen_session_close(session));
    memset(&story, 0, sizeof story);
    story.model = open_model(path);
    session = open_session(story.model, 1);
    OK(smidgen_generate(session, prompt, prompt_length, &params, close_model, &story, NULL));
    HOLDS(story.calls > 0 && story.model == NULL);
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
void together(smidgen_model *model) {
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

void states(smidgen_model *model, smidgen_model *stranger) {
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
void rounding(smidgen_model *model) {
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
void cycles(const char *path, int times) {
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

void images(const char *path) {
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

void texts(const char *path) {
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

void sounds(const char *path) {
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
