/* libsmidgen: a minimal inference runtime for the edge, with the same bits on every machine.
 *
 * This file is generated from runtime/capi/src. docs/abi.md says what the ABI promises.
 *
 * A typical program calls smidgen_model_open_path (or _fd, _memory), smidgen_session_open, smidgen_chat or smidgen_tokenize for a
 * prompt, smidgen_generate with a callback, smidgen_session_close and smidgen_model_close. examples/c/chat.c is such a program.
 *
 * - Every function that can fail returns a smidgen_status. smidgen_error_message() has the message of the calling thread's last failure.
 * - Handles are checked: a null, closed or foreign handle is an error. Handles are not addresses and must not be dereferenced.
 * - A struct begins with its size, which the host sets: `smidgen_session_params params = {sizeof params};`. Zeros are the defaults.
 * - A function that fills a buffer writes the count first, also if the buffer is too short (SMIDGEN_ERROR_SHORT_BUFFER). So a call with a
 *   capacity of 0 asks for the required length; such a call is quick even where computing the answer takes long.
 * - Any number of threads may use a model at once. One thread may use a session; another one gets SMIDGEN_ERROR_BUSY.
 * - A callback may call the library, but of the session that calls it only smidgen_session_cancel (others return
 *   SMIDGEN_ERROR_REENTRANT). A callback must return: no exception and no longjmp may pass through the library.
 * - A pointer must be null, or point to as much memory as is documented. Strings are UTF-8.
 */
#ifndef SMIDGEN_H
#define SMIDGEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The result of a call. */
typedef int32_t smidgen_status;

/* Success. */
#define SMIDGEN_OK 0

/* A required pointer is null. */
#define SMIDGEN_ERROR_NULL 1

/* An argument is invalid. */
#define SMIDGEN_ERROR_ARGUMENT 2

/* A handle is invalid: it was closed, never opened, or belongs to another kind of object. */
#define SMIDGEN_ERROR_HANDLE 3

/* The buffer is too short. The required length has been written; the buffer is unchanged. */
#define SMIDGEN_ERROR_SHORT_BUFFER 4

/* Another thread is using the session. */
#define SMIDGEN_ERROR_BUSY 5

/* The session is in use by the call whose callback makes this call. */
#define SMIDGEN_ERROR_REENTRANT 6

/* A file cannot be opened, read, mapped or written. */
#define SMIDGEN_ERROR_FILE 7

/* The bytes are not a valid model file. */
#define SMIDGEN_ERROR_FORMAT 8

/* The model, this build of the library, or the system does not support the request. */
#define SMIDGEN_ERROR_UNSUPPORTED 9

/* Out of memory: the system refused an allocation. */
#define SMIDGEN_ERROR_MEMORY 10

/* The tokens do not fit in the session's context. */
#define SMIDGEN_ERROR_CONTEXT_FULL 11

/* A string is not valid UTF-8. */
#define SMIDGEN_ERROR_TEXT 12

/* A saved state is damaged, or belongs to another model or another type of KV cache. */
#define SMIDGEN_ERROR_STATE 13

/* The model's chat template has an error, or rejects the conversation. */
#define SMIDGEN_ERROR_TEMPLATE 14

/* The threads cannot be started, or cannot be bound to the given CPUs. */
#define SMIDGEN_ERROR_THREADS 15

/* The progress callback asked to stop. */
#define SMIDGEN_ERROR_CANCELLED 16

/* No generation is running that could be cancelled. */
#define SMIDGEN_ERROR_IDLE 17

/* The model computed a value that is infinite or NaN. */
#define SMIDGEN_ERROR_NOT_FINITE 18

/* An internal error (a bug in the library). Close the handles that were in use, and report it. */
#define SMIDGEN_ERROR_INTERNAL 19

/* The version of this ABI: 65536 times the major number, plus the minor number; see smidgen_abi_version. */
#define SMIDGEN_ABI_VERSION 65537u

/* As the length of a string: the string is null-terminated. */
#define SMIDGEN_TEXT_END SIZE_MAX

/* Log level: information for debugging. */
#define SMIDGEN_LOG_INFO 1u

/* Log level: a warning about a likely mistake. */
#define SMIDGEN_LOG_WARNING 2u

/* Log level: a call returned a status other than SMIDGEN_OK. */
#define SMIDGEN_LOG_ERROR 3u

/* Ability of a model: it generates text (smidgen_generate). */
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

/* Flag of smidgen_model_open_memory: the bytes are copied, so the host need not keep them. */
#define SMIDGEN_OPEN_COPY 1u

/* Flag of smidgen_tokenize: adds the special tokens that the model expects at the ends of a prompt (BOS, EOS). */
#define SMIDGEN_TOKENS_FRAMED 1u

/* Flag of smidgen_tokenize: special tokens in the text are recognized. Of smidgen_detokenize: special tokens are
 * written out. */
#define SMIDGEN_TOKENS_CONTROL 2u

/* Flag of the functions that classify: return logits instead of probabilities. */
#define SMIDGEN_SCORES_LOGITS 1u

/* Flag of smidgen_classify_audio: begin a new recording, and forget the one before. */
#define SMIDGEN_AUDIO_BEGIN 1u

/* The KV cache holds f16. */
#define SMIDGEN_KV_F16 0u

/* The KV cache holds int8 with scales, which takes about half the memory. */
#define SMIDGEN_KV_Q8_0 1u

/* The KV cache holds f32, which takes twice the memory. Since ABI 1.1. */
#define SMIDGEN_KV_F32 2u

/* The generation ended with an end-of-text token. */
#define SMIDGEN_FINISH_END 1u

/* The generation ended at one of the stop strings. */
#define SMIDGEN_FINISH_STOP 2u

/* The generation reached max_tokens. */
#define SMIDGEN_FINISH_LENGTH 3u

/* The generation filled the context. */
#define SMIDGEN_FINISH_CONTEXT_FULL 4u

/* The generation was cancelled by smidgen_session_cancel, or by its callback. */
#define SMIDGEN_FINISH_CANCELLED 5u

/* An open model. Any number of threads may use it at once. */
typedef struct smidgen_model smidgen_model;

/* A session of a model: the KV cache, working memory and threads. One thread at a time may use it. */
typedef struct smidgen_session smidgen_session;

/* Receives a line of the log, without a newline. It may be called on any thread on which the host calls the library. */
typedef void (*smidgen_log_fn)(void *user, uint32_t level, const char *line);

/* Receives the number of bytes of the model that have been read. Returning anything but 0 stops the opening. */
typedef int32_t (*smidgen_progress_fn)(void *user, uint64_t done, uint64_t total);

/* Receives the next piece of the generated text: whole UTF-8 characters, null-terminated. Returning anything but 0
 * cancels the generation. */
typedef int32_t (*smidgen_token_fn)(void *user, const char *text, size_t length);

/* Options for opening a model. Zeros are the defaults. */
typedef struct smidgen_model_params {
    /* sizeof(smidgen_model_params). */
    size_t size;
    /* The name of a kernel set ("scalar", "neon", ...), or null for the fastest on this machine. All give the same
     * bits. */
    const char *target;
    /* A progress callback, or null. With one, the whole model is read while opening, so that the first answer need not
     * wait for the disk. */
    smidgen_progress_fn progress;
    /* A pointer that is passed to progress. */
    void *progress_user;
    /* Flags: SMIDGEN_OPEN_... */
    uint64_t flags;
} smidgen_model_params;

/* Information about a model. */
typedef struct smidgen_model_info {
    /* sizeof(smidgen_model_info), set by the host. */
    size_t size;
    /* The size of the model's files in bytes. */
    uint64_t bytes;
    /* The abilities of the model: SMIDGEN_CAN_... */
    uint32_t abilities;
    /* The number of tokens in the vocabulary. */
    uint32_t vocabulary;
    /* The context length in tokens that the model was trained for. */
    uint32_t context;
    /* The number of values in an embedding. */
    uint32_t width;
    /* The number of classes. */
    uint32_t classes;
    /* Reserved; the library sets it to 0. */
    uint32_t reserved;
} smidgen_model_info;

/* Options for opening a session. Zeros are the defaults. */
typedef struct smidgen_session_params {
    /* sizeof(smidgen_session_params). */
    size_t size;
    /* The context length in tokens; by default the length that the model was trained for, at most 8192. */
    uint32_t context;
    /* The most tokens that pass through the model at once; by default 256. A generation can be cancelled between such
     * batches. */
    uint32_t batch;
    /* The type of the KV cache: SMIDGEN_KV_... */
    uint32_t kv;
    /* The number of threads, the calling one included; by default one for each physical core. The results do not
     * depend on it. On a phone, use as many threads as there are big cores, and name these in cpus: all threads wait
     * for the slowest. */
    uint32_t threads;
    /* The numbers of the CPUs that the threads may run on, or null for any. The calling thread is bound to them during
     * calls only. Supported on Linux and Android; an error elsewhere. */
    const uint32_t *cpus;
    /* The number of elements in cpus. */
    size_t cpu_count;
} smidgen_session_params;

/* Information about a session. */
typedef struct smidgen_session_info {
    /* sizeof(smidgen_session_info), set by the host. */
    size_t size;
    /* For a language model, the bytes of memory that the session takes beside the model. They are reserved at once and
     * used as needed. */
    uint64_t bytes;
    /* The context length in tokens. */
    uint32_t context;
    /* The number of tokens in the context now. */
    uint32_t used;
    /* The number of threads. */
    uint32_t threads;
    /* Reserved; the library sets it to 0. */
    uint32_t reserved;
} smidgen_session_info;

/* A message of a conversation. This struct never changes. */
typedef struct smidgen_message {
    /* "system", "user" or "assistant", null-terminated. */
    const char *role;
    /* The text of the message, null-terminated. Special tokens in it are treated as ordinary text. */
    const char *content;
} smidgen_message;

/* Options for generating text. Zeros are the defaults. */
typedef struct smidgen_generate_params {
    /* sizeof(smidgen_generate_params). */
    size_t size;
    /* The most tokens to generate; by default as many as fit in the context. */
    uint32_t max_tokens;
    /* The sampling temperature; 0 always chooses the most likely token. */
    float temperature;
    /* Samples among this many of the most likely tokens; 0 keeps all. */
    uint32_t top_k;
    /* Samples among the fewest tokens whose probabilities add up to this; 0 and 1 keep all. */
    float top_p;
    /* Drops tokens whose probability is less than this fraction of the largest one. */
    float min_p;
    /* Divides positive logits of recent tokens, and multiplies negative ones, by this number; 0 and 1 change nothing. */
    float repetition_penalty;
    /* This number is subtracted from a recent token's logit for each of its occurrences. */
    float frequency_penalty;
    /* This number is subtracted once from a recent token's logit. */
    float presence_penalty;
    /* The number of last tokens that count as recent for the penalties; by default 64. */
    uint32_t penalty_window;
    /* Reserved; must be 0. */
    uint32_t flags;
    /* The seed of the random numbers. */
    uint64_t seed;
    /* Strings that end the generation and are not part of its text, each null-terminated. */
    const char *const *stops;
    /* The number of elements in stops. */
    size_t stop_count;
} smidgen_generate_params;

/* The result of a generation. */
typedef struct smidgen_generate_result {
    /* sizeof(smidgen_generate_result), set by the host. */
    size_t size;
    /* The number of tokens of the prompt that were in the context already. */
    uint32_t reused;
    /* The number of tokens of the prompt that were computed. */
    uint32_t computed;
    /* The number of tokens that were generated. */
    uint32_t generated;
    /* The reason why the generation ended: SMIDGEN_FINISH_... */
    uint32_t finish;
} smidgen_generate_result;

/* The result of listening. */
typedef struct smidgen_audio_result {
    /* sizeof(smidgen_audio_result), set by the host. */
    size_t size;
    /* The number of steps at which the model gave a probability. It may be 0, as a step takes some samples. */
    uint32_t steps;
    /* The number of detections of the word: times at which the mean of the last probabilities rose above the model's
     * cut-off. */
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
    /* A pointer to the first byte of the first row. */
    const uint8_t *pixels;
    /* The number of bytes that can be read from pixels. */
    size_t length;
    /* The distance in bytes from a row to the next; 0 means 3 times the width. */
    size_t stride;
    /* The number of columns. */
    uint32_t width;
    /* The number of rows. */
    uint32_t height;
} smidgen_image;

/* Returns the ABI version of the loaded library. A program may use the library if the major number equals that of
 * SMIDGEN_ABI_VERSION and the minor number is not smaller. */
uint32_t smidgen_abi_version(void);

/* Returns the version of the library, as a string that is valid for the life of the process. */
const char *smidgen_version(void);

/* Returns the name of a status, for logs, as a string that is valid for the life of the process. */
const char *smidgen_status_name(smidgen_status status);

/* Returns the error message of the calling thread's last failed call: one line, empty if no call failed. It is valid
 * until the thread's next failed call. */
const char *smidgen_error_message(void);

/* Sets the function that receives log lines of at least level, or null for none. This is the only process-wide
 * setting. The function may be called on any thread on which the host calls the library, and must remain valid until
 * another one is set. */
smidgen_status smidgen_set_logger(smidgen_log_fn log, void *user, uint32_t level);

/* Opens the GGUF file at path (UTF-8, null-terminated); of a split model, any of its files. The file is mapped, not
 * copied: it must not be changed while it is open. params may be null. */
smidgen_status smidgen_model_open_path(const char *path, const smidgen_model_params *params, smidgen_model **model);

/* Opens length bytes of an open file from offset on, such as an asset that is stored uncompressed in an Android
 * package; a length of 0 means all bytes to the end of the file. The host keeps the descriptor, and may close it after
 * the call. Supported on Unix only. */
smidgen_status smidgen_model_open_fd(int32_t fd, uint64_t offset, uint64_t length, const smidgen_model_params *params, smidgen_model **model);

/* Opens a model in memory. The host must keep the bytes unchanged until the model and all its sessions are closed,
 * unless params has the flag SMIDGEN_OPEN_COPY. params may be null. */
smidgen_status smidgen_model_open_memory(const uint8_t *bytes, size_t length, const smidgen_model_params *params, smidgen_model **model);

/* Closes a model. Its memory is freed when its last session is closed. */
smidgen_status smidgen_model_close(smidgen_model *model);

/* Writes information about the model to info; the host sets info->size first. */
smidgen_status smidgen_model_get_info(smidgen_model *model, smidgen_model_info *info);

/* Writes the value of a metadata key (a string, a number or a boolean) to buffer as a null-terminated string. length
 * receives its length without the terminator, for which the buffer must have room too. */
smidgen_status smidgen_model_metadata(smidgen_model *model, const char *key, char *buffer, size_t capacity, size_t *length);

/* Writes the name of a class, or its number if it has none, to buffer as a null-terminated string. length is as for
 * smidgen_model_metadata. */
smidgen_status smidgen_model_label(smidgen_model *model, uint32_t class_number, char *buffer, size_t capacity, size_t *length);

/* Tokenizes a text of length bytes (SMIDGEN_TEXT_END: null-terminated). flags are SMIDGEN_TOKENS_.... count receives
 * the number of tokens, also if the buffer is too short for them. */
smidgen_status smidgen_tokenize(smidgen_model *model, const char *text, size_t length, uint32_t flags, uint32_t *tokens, size_t capacity, size_t *count);

/* Writes the text of tokens to buffer as a null-terminated string; bytes that are not UTF-8 become U+FFFD. length
 * receives its length without the terminator, for which the buffer must have room too. */
smidgen_status smidgen_detokenize(smidgen_model *model, const uint32_t *tokens, size_t count, uint32_t flags, char *buffer, size_t capacity, size_t *length);

/* Applies the model's chat template to a conversation, and tokenizes the result up to where the next answer begins.
 * count is as for smidgen_tokenize. */
smidgen_status smidgen_chat(smidgen_model *model, const smidgen_message *messages, size_t message_count, uint32_t *tokens, size_t capacity, size_t *count);

/* Opens a session of a model. params may be null. */
smidgen_status smidgen_session_open(smidgen_model *model, const smidgen_session_params *params, smidgen_session **session);

/* Writes the bytes of memory that a session of a language model takes with these options, beside the model. params may
 * be null. */
smidgen_status smidgen_session_bytes(smidgen_model *model, const smidgen_session_params *params, uint64_t *bytes);

/* Closes a session. A session that is in use stays open, and the call returns SMIDGEN_ERROR_BUSY or
 * SMIDGEN_ERROR_REENTRANT. */
smidgen_status smidgen_session_close(smidgen_session *session);

/* Cancels the session's generation after the token, or the batch of the prompt, that is being computed; its finish is
 * then SMIDGEN_FINISH_CANCELLED, unless it fails. This function may be called from any thread, and from callbacks. It
 * returns SMIDGEN_ERROR_IDLE if no generation is running. */
smidgen_status smidgen_session_cancel(smidgen_session *session);

/* Writes information about the session to info; the host sets info->size first. */
smidgen_status smidgen_session_get_info(smidgen_session *session, smidgen_session_info *info);

/* Generates text after a prompt, and calls token with each piece as soon as it is final. The prompt is always the
 * whole conversation so far: the session reuses the tokens of its context up to the first that differs from the
 * prompt, and drops the rest. token, params and result may be null. A cancelled generation is not an error: see
 * result->finish. */
smidgen_status smidgen_generate(smidgen_session *session, const uint32_t *prompt, size_t count, const smidgen_generate_params *params, smidgen_token_fn token, void *user, smidgen_generate_result *result);

/* Writes the tokens of the session: those of the last prompt and those generated after it, or those of the state that
 * was restored. */
smidgen_status smidgen_session_tokens(smidgen_session *session, uint32_t *tokens, size_t capacity, size_t *count);

/* Resets the session: its context, and the sound that it has heard, are forgotten. */
smidgen_status smidgen_session_reset(smidgen_session *session);

/* Writes the state of a language model's session to buffer: its KV cache and tokens. The last generated token is not
 * among them, as it has not passed through the model. length receives the number of bytes, also if the buffer is too
 * short for them. This version of the library, and later ones with the same major number, can restore a state. */
smidgen_status smidgen_session_save(smidgen_session *session, uint8_t *buffer, size_t capacity, size_t *length);

/* As smidgen_session_save, but writes a file, replacing one of the same name. The file is complete or absent: it is
 * written under its name with ".part" appended, and then renamed. */
smidgen_status smidgen_session_save_file(smidgen_session *session, const char *path);

/* Restores a state that a session of the same model and type of KV cache has saved. The context length may differ, if
 * it is long enough. A state that is not as it was saved is SMIDGEN_ERROR_STATE; only a whole one can be
 * SMIDGEN_ERROR_CONTEXT_FULL. After an error the session is unchanged. */
smidgen_status smidgen_session_restore(smidgen_session *session, const uint8_t *state, size_t length);

/* As smidgen_session_restore, but reads a file. */
smidgen_status smidgen_session_restore_file(smidgen_session *session, const char *path);

/* Computes the embedding of a text of length bytes (SMIDGEN_TEXT_END: null-terminated). A text that is too long for
 * the model is truncated. count receives the number of values, also if the buffer is too short for them. */
smidgen_status smidgen_embed_text(smidgen_session *session, const char *text, size_t length, float *values, size_t capacity, size_t *count);

/* Computes the embedding of an image, as smidgen_embed_text does of a text: its features, or with CLIP a vector that
 * can be compared with embeddings of texts by cosine similarity. The image may have any size. */
smidgen_status smidgen_embed_image(smidgen_session *session, const smidgen_image *image, float *values, size_t capacity, size_t *count);

/* Computes the probabilities of a text's classes, or their logits with SMIDGEN_SCORES_LOGITS; smidgen_model_label has
 * the names of the classes. Probabilities are those of the model's problem type: of a single label they add up to 1,
 * of multiple labels each is its own, and of a regression they are the logits. */
smidgen_status smidgen_classify_text(smidgen_session *session, const char *text, size_t length, uint32_t flags, float *values, size_t capacity, size_t *count);

/* Computes the probabilities of an image's classes, or their logits with SMIDGEN_SCORES_LOGITS, as
 * smidgen_classify_text does. The image may have any size. */
smidgen_status smidgen_classify_image(smidgen_session *session, const smidgen_image *image, uint32_t flags, float *values, size_t capacity, size_t *count);

/* Listens for the model's wake word in samples samples of sound (mono, 16 bits, 16,000 per second). The sound
 * continues what the session has heard so far, unless flags has SMIDGEN_AUDIO_BEGIN. The host sets result->size first.
 * The word is the value of the metadata key micro.wake_word. */
smidgen_status smidgen_classify_audio(smidgen_session *session, const int16_t *pcm, size_t samples, uint32_t flags, smidgen_audio_result *result);

#ifdef __cplusplus
}
#endif

#endif
