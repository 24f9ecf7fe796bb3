/* What the parts of the abuse test share. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smidgen.h"

extern int failures;

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
extern uint32_t prompt[PROMPT];
extern size_t prompt_length;

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

/* A token callback for a Story. */
int32_t collect(void *user, const char *text, size_t length);
smidgen_generate_params params_of(uint32_t tokens);
smidgen_generate_result run(smidgen_session *session, uint32_t tokens, Story *story);
smidgen_model *open_model(const char *path);
smidgen_session *open_session(smidgen_model *model, uint32_t threads);

/* abuse_use.c */
void ends(smidgen_model *model, const char *path, int times);
void together(smidgen_model *model);
void states(smidgen_model *model, smidgen_model *stranger);
void rounding(smidgen_model *model);
void cycles(const char *path, int times);
void images(const char *path);
void texts(const char *path);
void sounds(const char *path);
