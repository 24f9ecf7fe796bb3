/* libsmidgen: a minimal inference runtime for the edge, with the same bits on every machine.
 *
 * This file is generated from runtime/capi/src; docs/abi.md says what is promised.
 *
 * In short: smidgen_model_open_path (or _fd, _memory), smidgen_session_open, smidgen_chat or smidgen_tokenize for a prompt,
 * smidgen_generate with a callback, smidgen_session_close, smidgen_model_close. examples/c/chat.c is that in full.
 *
 * - Every function that can fail returns a smidgen_status. smidgen_error_message() says what was wrong, in the calling thread.
 * - Handles are checked: null, closed and foreign ones are errors. They are no addresses; nothing lies where they point.
 * - A struct begins with its size, which the host sets: `smidgen_session_params params = {sizeof params};`. Zeros are the defaults.
 * - Where a buffer is filled, the count is written first, also if the buffer is too short (SMIDGEN_ERROR_SHORT_BUFFER), so a call with a
 *   capacity of 0 asks how much is needed; that is quick, also where the answer would take long.
 * - A model may be used by any number of threads at once, a session by one; another gets SMIDGEN_ERROR_BUSY.
 * - Callbacks may call the library, also smidgen_session_cancel, but nothing else of the session that is calling
 *   (SMIDGEN_ERROR_REENTRANT). They must return: no exception and no longjmp may pass through the library.
 * - Pointers must be null or point to as much as is said. Texts are UTF-8.
 */
#ifndef SMIDGEN_H
#define SMIDGEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended. */
typedef int32_t smidgen_status;

/* It is done. */
#define SMIDGEN_OK 0

/* A pointer is null that must not be. */
#define SMIDGEN_ERROR_NULL 1

/* An argument makes no sense. */
#define SMIDGEN_ERROR_ARGUMENT 2

/* A handle that was closed, never was one, or is one of something else. */
#define SMIDGEN_ERROR_HANDLE 3

/* The buffer is too short. How much is needed has been written; the buffer is as it was. */
#define SMIDGEN_ERROR_SHORT_BUFFER 4

/* Another thread is using the session. */
#define SMIDGEN_ERROR_BUSY 5

/* The call comes from a callback of a call that is using the session. */
#define SMIDGEN_ERROR_REENTRANT 6

/* A file cannot be opened, read, mapped or written. */
#define SMIDGEN_ERROR_FILE 7

/* The bytes are no usable model. */
#define SMIDGEN_ERROR_FORMAT 8

/* This model, this build of the library or this system cannot do it. */
#define SMIDGEN_ERROR_UNSUPPORTED 9

/* Memory was refused. */
#define SMIDGEN_ERROR_MEMORY 10

/* More tokens than the session's context holds. */
#define SMIDGEN_ERROR_CONTEXT_FULL 11

/* A text is not UTF-8. */
#define SMIDGEN_ERROR_TEXT 12

/* A saved state is damaged, or of another model or another type of cache. */
#define SMIDGEN_ERROR_STATE 13

/* The model's chat template is faulty, or refuses the conversation. */
#define SMIDGEN_ERROR_TEMPLATE 14

/* The threads cannot be started, or not be bound to those CPUs. */
#define SMIDGEN_ERROR_THREADS 15

/* The callback of the progress asked to stop. */
#define SMIDGEN_ERROR_CANCELLED 16

/* There is nothing under way that could be cancelled. */
#define SMIDGEN_ERROR_IDLE 17

/* The model's outputs are not finite. */
#define SMIDGEN_ERROR_NOT_FINITE 18

/* A mistake in the library. Close what was in use, and report it. */
#define SMIDGEN_ERROR_INTERNAL 19

/* The version of this ABI, 65536 times its major number and its minor number; see smidgen_abi_version. */
#define SMIDGEN_ABI_VERSION 65536u

/* For the length of a text: it ends with a zero. */
#define SMIDGEN_TEXT_END SIZE_MAX

/* Log level: for whom looks for something. */
#define SMIDGEN_LOG_INFO 1u

/* Log level: what may be a mistake. */
#define SMIDGEN_LOG_WARNING 2u

/* Log level: a call that ends with another status than SMIDGEN_OK. */
#define SMIDGEN_LOG_ERROR 3u

/* Ability of a model: it writes text (smidgen_generate). */
#define SMIDGEN_CAN_GENERATE 1u

/* Ability of a model: it has a chat template (smidgen_chat). */
#define SMIDGEN_CAN_CHAT 2u

/* Ability of a model: it takes texts (smidgen_embed_text, smidgen_classify_text). */
#define SMIDGEN_CAN_READ 4u

/* Ability of a model: it takes images (smidgen_embed_image, smidgen_classify_image). */
#define SMIDGEN_CAN_SEE 8u

/* Ability of a model: it takes sound (smidgen_classify_audio). */
#define SMIDGEN_CAN_HEAR 16u

/* Ability of a model: it has classes (smidgen_classify_text, smidgen_classify_image, smidgen_classify_audio). */
#define SMIDGEN_CAN_CLASSIFY 32u

/* For smidgen_model_open_memory: the bytes are copied, so the host need not keep them. */
#define SMIDGEN_OPEN_COPY 1u

/* For smidgen_tokenize: with what the model expects at the ends of a prompt (BOS, EOS). */
#define SMIDGEN_TOKENS_FRAMED 1u

/* For smidgen_tokenize: the text may spell control tokens. For smidgen_detokenize: they are spelled. */
#define SMIDGEN_TOKENS_CONTROL 2u

/* For the functions that classify: logits, not probabilities. */
#define SMIDGEN_SCORES_LOGITS 1u

/* For smidgen_classify_audio: forget what was heard before. */
#define SMIDGEN_AUDIO_BEGIN 1u

/* Cache of keys and values in binary16. */
#define SMIDGEN_KV_F16 0u

/* Cache of keys and values in int8 with scales, about half the size. */
#define SMIDGEN_KV_Q8_0 1u

/* A generation ended with an end token. */
#define SMIDGEN_FINISH_END 1u

/* A generation ended with one of the stop texts. */
#define SMIDGEN_FINISH_STOP 2u

/* A generation ended as all requested tokens were there. */
#define SMIDGEN_FINISH_LENGTH 3u

/* A generation ended as the context is full. */
#define SMIDGEN_FINISH_CONTEXT_FULL 4u

/* A generation ended by smidgen_session_cancel, or as the callback asked to stop. */
#define SMIDGEN_FINISH_CANCELLED 5u

/* An open model. Any number of threads may use it at once. */
typedef struct smidgen_model smidgen_model;

/* A model at work: its memory and its threads. One thread at a time may use it. */
typedef struct smidgen_session smidgen_session;

/* Takes a line of the log, without a newline. Any thread of the host's may be the one that calls. */
typedef void (*smidgen_log_fn)(void *user, uint32_t level, const char *line);

/* Is told how many of a model's bytes have been read; ends the opening with anything but 0. */
typedef int32_t (*smidgen_progress_fn)(void *user, uint64_t done, uint64_t total);

/* Takes the next piece of a text: whole characters of UTF-8, with a zero behind them; ends the generation with
 * anything but 0. */
typedef int32_t (*smidgen_token_fn)(void *user, const char *text, size_t length);

/* How to open a model. Zeros are the defaults. */
typedef struct smidgen_model_params {
    /* sizeof(smidgen_model_params). */
    size_t size;
    /* Kernels by name ("scalar", "neon", ...), or null for the fastest that this machine has. All give the same bits. */
    const char *target;
    /* With a callback the whole model is read once while opening, so that the first answer need not wait for the disk. */
    smidgen_progress_fn progress;
    /* What progress is called with. */
    void *progress_user;
    /* SMIDGEN_OPEN_... */
    uint64_t flags;
} smidgen_model_params;

/* What a model is. */
typedef struct smidgen_model_info {
    /* sizeof(smidgen_model_info), from the host. */
    size_t size;
    /* Bytes of the model's files. */
    uint64_t bytes;
    /* SMIDGEN_CAN_... */
    uint32_t abilities;
    /* Number of tokens that the model knows. */
    uint32_t vocabulary;
    /* Tokens that the model was trained to look back on. */
    uint32_t context;
    /* Values of an embedding. */
    uint32_t width;
    /* Number of classes. */
    uint32_t classes;
    /* Zero. */
    uint32_t reserved;
} smidgen_model_info;

/* How a session works. Zeros are the defaults. */
typedef struct smidgen_session_params {
    /* sizeof(smidgen_session_params). */
    size_t size;
    /* Tokens that the session can hold; by default what the model was trained for, at most 8192. */
    uint32_t context;
    /* Tokens that pass through the model at once, at most; by default 256. A generation can be cancelled between such
     * batches. */
    uint32_t batch;
    /* SMIDGEN_KV_... */
    uint32_t kv;
    /* Threads, the calling one among them; by default one for each physical core. The bits do not depend on it. On a
     * phone, better as many as it has big cores, named by cpus: threads wait for the slowest. */
    uint32_t threads;
    /* Numbers of the CPUs that the threads may run on; null for any. The calling thread is bound to them during calls
     * only. Linux and Android; an error elsewhere. */
    const uint32_t *cpus;
    /* Number of CPUs. */
    size_t cpu_count;
} smidgen_session_params;

/* What a session holds. */
typedef struct smidgen_session_info {
    /* sizeof(smidgen_session_info), from the host. */
    size_t size;
    /* Bytes of memory for a language model, beside the model itself; they are asked of the system at once and used as
     * needed. */
    uint64_t bytes;
    /* Tokens that it can hold. */
    uint32_t context;
    /* Tokens that it holds. */
    uint32_t used;
    /* Threads. */
    uint32_t threads;
    /* Zero. */
    uint32_t reserved;
} smidgen_session_info;

/* A turn of a conversation. This struct never changes. */
typedef struct smidgen_message {
    /* "system", "user" or "assistant", with a zero at its end. */
    const char *role;
    /* What is said, with a zero at its end. Control tokens that it spells are text. */
    const char *content;
} smidgen_message;

/* What to generate. Zeros are the defaults. */
typedef struct smidgen_generate_params {
    /* sizeof(smidgen_generate_params). */
    size_t size;
    /* Most tokens to generate; by default as many as the context has room for. */
    uint32_t max_tokens;
    /* Divides the logits before the draw; 0 always takes the largest. */
    float temperature;
    /* Keeps this many tokens; 0 keeps all. */
    uint32_t top_k;
    /* Keeps the fewest tokens whose probabilities add up to this; 0 and 1 keep all. */
    float top_p;
    /* Keeps tokens with at least this part of the largest probability. */
    float min_p;
    /* Divides positive logits of recent tokens and multiplies negative ones; 0 and 1 change nothing. */
    float repetition_penalty;
    /* Subtracted from a recent token's logit for each time that it occurs. */
    float frequency_penalty;
    /* Subtracted from a recent token's logit once. */
    float presence_penalty;
    /* How many of the last tokens are recent, by default 64. */
    uint32_t penalty_window;
    /* Zero. */
    uint32_t flags;
    /* Where the random numbers begin. */
    uint64_t seed;
    /* Texts that end the generation and are no part of it, each with a zero at its end. */
    const char *const *stops;
    /* Number of stop texts. */
    size_t stop_count;
} smidgen_generate_params;

/* How a generation went. */
typedef struct smidgen_generate_result {
    /* sizeof(smidgen_generate_result), from the host. */
    size_t size;
    /* Tokens of the prompt that the session held already. */
    uint32_t reused;
    /* Tokens of the prompt that were computed. */
    uint32_t computed;
    /* Tokens that were generated. */
    uint32_t generated;
    /* SMIDGEN_FINISH_... */
    uint32_t finish;
} smidgen_generate_result;

/* What was heard. */
typedef struct smidgen_audio_result {
    /* sizeof(smidgen_audio_result), from the host. */
    size_t size;
    /* How often the model gave a probability; it may be 0, as that takes some samples. */
    uint32_t steps;
    /* How often the word was heard: the mean of the last probabilities rose above the model's cut-off. */
    uint32_t heard;
    /* The last probability. */
    float last;
    /* The largest probability. */
    float largest;
} smidgen_audio_result;

/* An image of 8-bit red, green and blue: rows from the top, pixels from the left. */
typedef struct smidgen_image {
    /* sizeof(smidgen_image). */
    size_t size;
    /* The first row's first byte. */
    const uint8_t *pixels;
    /* Bytes that can be read from there. */
    size_t length;
    /* Bytes from a row to the next; 0 for 3 times the width. */
    size_t stride;
    /* Columns. */
    uint32_t width;
    /* Rows. */
    uint32_t height;
} smidgen_image;

/* The ABI that the library has. A program may go on if the major number is that of SMIDGEN_ABI_VERSION and the minor
 * number is not smaller. */
uint32_t smidgen_abi_version(void);

/* The version of the library: a text that stays. */
const char *smidgen_version(void);

/* The name of a status, for logs: a text that stays. */
const char *smidgen_status_name(smidgen_status status);

/* What was wrong with the calling thread's last call that failed: one line, empty if none did. It stays until the
 * thread's next call that fails. */
const char *smidgen_error_message(void);

/* Gives all lines of the log from level on to a function of the host, null for none. This is the one setting of the
 * whole process. The function may be called from any thread on which the host calls the library, and must stay until
 * another is set. */
smidgen_status smidgen_set_logger(smidgen_log_fn log, void *user, uint32_t level);

/* Opens the GGUF file at path (UTF-8, with a zero at its end); of a split model any of the files. The file is mapped,
 * not copied: it must not be changed while it is open. params may be null. */
smidgen_status smidgen_model_open_path(const char *path, const smidgen_model_params *params, smidgen_model **model);

/* Opens length bytes of an open file from offset on, such as an asset that is stored uncompressed in an Android
 * package; with a length of 0 all to the file's end. The descriptor stays the host's, and may be closed afterwards.
 * Unix only. */
smidgen_status smidgen_model_open_fd(int32_t fd, uint64_t offset, uint64_t length, const smidgen_model_params *params, smidgen_model **model);

/* Opens a model in memory. The host keeps the bytes as they are until the model and all its sessions are closed,
 * unless params has SMIDGEN_OPEN_COPY. */
smidgen_status smidgen_model_open_memory(const uint8_t *bytes, size_t length, const smidgen_model_params *params, smidgen_model **model);

/* Closes a model. Its memory is given back when its last session is closed. */
smidgen_status smidgen_model_close(smidgen_model *model);

/* What the model is; the host sets info->size first. */
smidgen_status smidgen_model_get_info(smidgen_model *model, smidgen_model_info *info);

/* A text, a number or a truth value of the file's metadata, as text with a zero at its end. length gets the text's
 * length without the zero, for which there must be room too. */
smidgen_status smidgen_model_metadata(smidgen_model *model, const char *key, char *buffer, size_t capacity, size_t *length);

/* The name of a class, with a zero at its end; its number if it has none. length is as for smidgen_model_metadata. */
smidgen_status smidgen_model_label(smidgen_model *model, uint32_t class_number, char *buffer, size_t capacity, size_t *length);

/* The tokens of a text of length bytes (SMIDGEN_TEXT_END: up to its zero). flags are SMIDGEN_TOKENS_.... count gets
 * their number, also if there is no room for them. */
smidgen_status smidgen_tokenize(smidgen_model *model, const char *text, size_t length, uint32_t flags, uint32_t *tokens, size_t capacity, size_t *count);

/* The text of tokens, with a zero at its end; bytes that are not UTF-8 become U+FFFD. length gets its length without
 * the zero, for which there must be room too. */
smidgen_status smidgen_detokenize(smidgen_model *model, const uint32_t *tokens, size_t count, uint32_t flags, char *buffer, size_t capacity, size_t *length);

/* The tokens of a conversation up to where the next answer begins, by the model's chat template. count is as for
 * smidgen_tokenize. */
smidgen_status smidgen_chat(smidgen_model *model, const smidgen_message *messages, size_t message_count, uint32_t *tokens, size_t capacity, size_t *count);

/* Opens a session of a model. params may be null. */
smidgen_status smidgen_session_open(smidgen_model *model, const smidgen_session_params *params, smidgen_session **session);

/* Bytes of memory that a session of a language model will take with these parameters, beside the model. */
smidgen_status smidgen_session_bytes(smidgen_model *model, const smidgen_session_params *params, uint64_t *bytes);

/* Closes a session. One that is in use is not closed. */
smidgen_status smidgen_session_close(smidgen_session *session);

/* Ends the session's generation after the token, or the batch of the prompt, that is being computed; its finish is
 * then SMIDGEN_FINISH_CANCELLED, unless it fails. May be called from any thread, and from callbacks.
 * SMIDGEN_ERROR_IDLE if there is none under way. */
smidgen_status smidgen_session_cancel(smidgen_session *session);

/* What the session holds; the host sets info->size first. */
smidgen_status smidgen_session_get_info(smidgen_session *session, smidgen_session_info *info);

/* Generates what follows a prompt, and calls token with the text as it becomes certain. The prompt is always the whole
 * text so far: the tokens that the session holds already are not computed again, and what it holds beyond them is
 * forgotten. token, params and result may be null. That a generation was cancelled is no error: see result->finish. */
smidgen_status smidgen_generate(smidgen_session *session, const uint32_t *prompt, size_t count, const smidgen_generate_params *params, smidgen_token_fn token, void *user, smidgen_generate_result *result);

/* The tokens of the conversation: of the last prompt, and those generated since. Of a restored state, its tokens. */
smidgen_status smidgen_session_tokens(smidgen_session *session, uint32_t *tokens, size_t capacity, size_t *count);

/* Forgets all that the session holds, and what it heard. */
smidgen_status smidgen_session_reset(smidgen_session *session);

/* The state of a language model's session, as bytes: what it holds, and the tokens. The last token generated is not
 * among them, as it has not passed through the model. length gets the number of bytes, also if there is no room for
 * them. A state can be restored by this version of the library and later ones with the same major number. */
smidgen_status smidgen_session_save(smidgen_session *session, uint8_t *buffer, size_t capacity, size_t *length);

/* As smidgen_session_save, to a file that is written anew. It is complete or not there: first comes one with ".part"
 * behind its name. */
smidgen_status smidgen_session_save_file(smidgen_session *session, const char *path);

/* Makes a session hold what was saved, from a session of the same model and type of cache; the context may be another,
 * if it is long enough. After an error it holds what it held before. */
smidgen_status smidgen_session_restore(smidgen_session *session, const uint8_t *state, size_t length);

/* As smidgen_session_restore, from a file. */
smidgen_status smidgen_session_restore_file(smidgen_session *session, const char *path);

/* The embedding of a text of length bytes (SMIDGEN_TEXT_END: up to its zero). What is too long for the model is cut at
 * the end. count gets the number of values, also if there is no room for them. */
smidgen_status smidgen_embed_text(smidgen_session *session, const char *text, size_t length, float *values, size_t capacity, size_t *count);

/* The embedding of an image, as smidgen_embed_text: its features, or with CLIP a place among its embeddings of texts
 * (compare by the cosine of the angle). The image may be of any size. */
smidgen_status smidgen_embed_image(smidgen_session *session, const smidgen_image *image, float *values, size_t capacity, size_t *count);

/* The probabilities of a text's classes, or with SMIDGEN_SCORES_LOGITS their logits; smidgen_model_label names them. */
smidgen_status smidgen_classify_text(smidgen_session *session, const char *text, size_t length, uint32_t flags, float *values, size_t capacity, size_t *count);

/* The probabilities of an image's classes, or with SMIDGEN_SCORES_LOGITS their logits. The image may be of any size. */
smidgen_status smidgen_classify_image(smidgen_session *session, const smidgen_image *image, uint32_t flags, float *values, size_t capacity, size_t *count);

/* Listens to samples samples of sound (mono, 16 bits, 16,000 a second) for the model's word, as the continuation of
 * what the session has heard so far, unless flags has SMIDGEN_AUDIO_BEGIN. The host sets result->size first. The word
 * is in the metadata (micro.wake_word). */
smidgen_status smidgen_classify_audio(smidgen_session *session, const int16_t *pcm, size_t samples, uint32_t flags, smidgen_audio_result *result);

#ifdef __cplusplus
}
#endif

#endif
