/* Continues a text, greedily:  story MODEL.gguf TEXT TOKENS. The same bytes as `smidgen run MODEL --raw -p TEXT -n TOKENS --temp 0`. */
#include <smidgen.h>
#include <stdio.h>
#include <stdlib.h>

static int32_t print(void *user, const char *text, size_t length) {
    return fwrite(text, 1, length, user) < length;
}

int main(int argc, char **argv) {
    static uint32_t tokens[2048];
    size_t count = 0;
    smidgen_model *model = NULL;
    smidgen_session *session = NULL;
    smidgen_generate_params params = {sizeof params, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, 0};
    if (argc != 4) return fprintf(stderr, "usage: story MODEL.gguf TEXT TOKENS\n"), 2;
    params.max_tokens = (uint32_t)atoi(argv[3]);
    if (smidgen_model_open_path(argv[1], NULL, &model) || smidgen_session_open(model, NULL, &session) ||
        smidgen_tokenize(model, argv[2], SMIDGEN_TEXT_END, SMIDGEN_TOKENS_FRAMED | SMIDGEN_TOKENS_CONTROL, tokens, 2048, &count) ||
        smidgen_generate(session, tokens, count, &params, print, stdout, NULL)) {
        return fprintf(stderr, "story: %s\n", smidgen_error_message()), 1;
    }
    return smidgen_session_close(session) || smidgen_model_close(model) || fflush(stdout);
}
