/* What a host may do wrong. Nothing crashes, everything is told.
 *
 *   abuse LANGUAGE-MODEL.gguf IMAGE-MODEL.gguf [TEXT-MODEL.gguf|- [SOUND-MODEL.gguf|- [short]]] */
#include "abuse.h"

int failures;
uint32_t prompt[PROMPT];
size_t prompt_length;

int32_t collect(void *user, const char *text, size_t length) {
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

smidgen_generate_params params_of(uint32_t tokens) {
    smidgen_generate_params params;
    memset(&params, 0, sizeof params);
    params.size = sizeof params;
    params.max_tokens = tokens;
    params.temperature = 0.8f;
    params.top_p = 0.9f;
    params.seed = 7;
    return params;
}

smidgen_generate_result run(smidgen_session *session, uint32_t tokens, Story *story) {
    smidgen_generate_params params = params_of(tokens);
    smidgen_generate_result result;
    memset(&result, 0, sizeof result);
    result.size = sizeof result;
    OK(smidgen_generate(session, prompt, prompt_length, &params, collect, story, &result));
    return result;
}

smidgen_model *open_model(const char *path) {
    smidgen_model *model = NULL;
    OK(smidgen_model_open_path(path, NULL, &model));
    if (!model) {
        exit(1);
    }
    return model;
}

smidgen_session *open_session(smidgen_model *model, uint32_t threads) {
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
    HOLDS((info.abilities | SMIDGEN_CAN_CHAT) == (SMIDGEN_CAN_GENERATE | SMIDGEN_CAN_CHAT) && info.vocabulary > 0 && info.context > 0 && info.bytes > 0);
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
    ends(model, argv[1], quick ? 2 : 1000);
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
