/* Talks with a language model:  chat MODEL.gguf [one message]
 *   cc chat.c $(pkg-config --cflags --libs smidgen) -o chat */
#include <smidgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char text[16384]; size_t length; } Answer;

static int32_t print(void *user, const char *text, size_t length) {
    Answer *answer = user;
    if (answer->length + length >= sizeof answer->text) return 1; /* full: enough said */
    memcpy(answer->text + answer->length, text, length + 1);
    answer->length += length;
    return fwrite(text, 1, length, stdout) < length || fflush(stdout);
}

static void check(smidgen_status status) {
    if (status == SMIDGEN_OK) return;
    fprintf(stderr, "chat: %s\n", smidgen_error_message());
    exit(1);
}

static char *copy(const char *text) {
    char *result = malloc(strlen(text) + 1);
    if (!result) exit(1);
    return strcpy(result, text);
}

int main(int argc, char **argv) {
    enum { TURNS = 64, CONTEXT = 2048 };
    static uint32_t tokens[CONTEXT];
    static char line[4096];
    smidgen_message turns[TURNS] = {{NULL, NULL}};
    size_t count = 0, length = 0, i;
    smidgen_model *model = NULL;
    smidgen_session *session = NULL;
    smidgen_session_params memory = {sizeof memory, CONTEXT, 0, SMIDGEN_KV_F16, 0, NULL, 0};
    smidgen_generate_params params = {sizeof params, 300, 0, 0, 0, 0, 1.1f, 0, 0, 0, 0, 0, NULL, 0};
    Answer answer;
    if (argc < 2) return fprintf(stderr, "usage: chat MODEL.gguf [message]\n"), 2;
    check(smidgen_model_open_path(argv[1], NULL, &model));
    check(smidgen_session_open(model, &memory, &session));
    while (count + 2 <= TURNS && (argc > 2 ? !count : fgets(line, sizeof line, stdin) != NULL)) {
        line[strcspn(line, "\n")] = '\0';
        turns[count].role = "user", turns[count++].content = copy(argc > 2 ? argv[2] : line);
        check(smidgen_chat(model, turns, count, tokens, CONTEXT, &length));
        answer.length = 0, answer.text[0] = '\0';
        check(smidgen_generate(session, tokens, length, &params, print, &answer, NULL));
        turns[count].role = "assistant", turns[count++].content = copy(answer.text);
        puts("");
    }
    check(smidgen_session_close(session));
    check(smidgen_model_close(model));
    for (i = 0; i < count; i++) free((void *)turns[i].content);
    return 0;
}
