/* dev.smidgen.Native: libsmidgen for Java and Kotlin. */
#include <jni.h>
#include <smidgen.h>
#include <stdlib.h>
#include <string.h>

#define NATIVE(type, name) JNIEXPORT type JNICALL Java_dev_smidgen_Native_##name
#define MODEL(handle) ((smidgen_model *)(uintptr_t)(handle))
#define SESSION(handle) ((smidgen_session *)(uintptr_t)(handle))

/* Whether all is well; otherwise an exception is pending. */
static int fine(JNIEnv *env, smidgen_status status) {
    jclass kind;
    jmethodID make;
    jstring message;
    jobject thrown;
    if (status == SMIDGEN_OK) {
        return 1;
    }
    kind = (*env)->FindClass(env, "dev/smidgen/SmidgenException");
    make = kind ? (*env)->GetMethodID(env, kind, "<init>", "(ILjava/lang/String;)V") : NULL;
    message = make ? (*env)->NewStringUTF(env, smidgen_error_message()) : NULL;
    thrown = message ? (*env)->NewObject(env, kind, make, (jint)status, message) : NULL;
    if (thrown) {
        (*env)->Throw(env, (jthrowable)thrown);
    }
    return 0;
}

/* Memory, or a pending exception. */
static void *memory(JNIEnv *env, size_t bytes) {
    void *found = malloc(bytes + 1);
    jclass kind = found ? NULL : (*env)->FindClass(env, "java/lang/OutOfMemoryError");
    if (kind) {
        (*env)->ThrowNew(env, kind, "smidgen");
    }
    return found;
}

/* The bytes of an array with a zero behind them: UTF-8, which the JVM's own strings are not quite. Null for null. */
static char *bytes(JNIEnv *env, jbyteArray array, size_t *length) {
    char *found = NULL;
    jsize count = array ? (*env)->GetArrayLength(env, array) : 0;
    *length = (size_t)count;
    if (array && (found = memory(env, (size_t)count)) != NULL) {
        (*env)->GetByteArrayRegion(env, array, 0, count, (jbyte *)found);
        found[count] = '\0';
    }
    return found;
}

/* A string of UTF-8, by way of Java's decoder. */
static jstring text_of(JNIEnv *env, const char *text, size_t length) {
    jclass kind = (*env)->FindClass(env, "java/lang/String");
    jmethodID make = kind ? (*env)->GetMethodID(env, kind, "<init>", "([BLjava/lang/String;)V") : NULL;
    jbyteArray array = make ? (*env)->NewByteArray(env, (jsize)length) : NULL;
    jstring name = array ? (*env)->NewStringUTF(env, "UTF-8") : NULL, result = NULL;
    if (name) {
        (*env)->SetByteArrayRegion(env, array, 0, (jsize)length, (const jbyte *)text);
        result = (jstring)(*env)->NewObject(env, kind, make, array, name);
    }
    if (name) (*env)->DeleteLocalRef(env, name);
    if (array) (*env)->DeleteLocalRef(env, array);
    if (kind) (*env)->DeleteLocalRef(env, kind);
    return result;
}

static jintArray ints(JNIEnv *env, const uint32_t *values, size_t count) {
    jintArray array = (*env)->NewIntArray(env, (jsize)count);
    if (array) {
        (*env)->SetIntArrayRegion(env, array, 0, (jsize)count, (const jint *)values);
    }
    return array;
}

static jfloatArray floats(JNIEnv *env, const float *values, size_t count) {
    jfloatArray array = (*env)->NewFloatArray(env, (jsize)count);
    if (array) {
        (*env)->SetFloatArrayRegion(env, array, 0, (jsize)count, values);
    }
    return array;
}

NATIVE(jlong, openPath)(JNIEnv *env, jclass self, jstring path) {
    const char *name = path ? (*env)->GetStringUTFChars(env, path, NULL) : NULL;
    smidgen_model *model = NULL;
    (void)self;
    if (path && !name) {
        return 0;
    }
    fine(env, smidgen_model_open_path(name, NULL, &model));
    if (name) {
        (*env)->ReleaseStringUTFChars(env, path, name);
    }
    return (jlong)(uintptr_t)model;
}

NATIVE(jlong, openDescriptor)(JNIEnv *env, jclass self, jint fd, jlong offset, jlong length) {
    smidgen_model *model = NULL;
    (void)self;
    fine(env, smidgen_model_open_fd(fd, (uint64_t)offset, (uint64_t)length, NULL, &model));
    return (jlong)(uintptr_t)model;
}

NATIVE(void, closeModel)(JNIEnv *env, jclass self, jlong model) {
    (void)self;
    fine(env, smidgen_model_close(MODEL(model)));
}

NATIVE(jintArray, tokenize)(JNIEnv *env, jclass self, jlong model, jbyteArray utf8, jint flags) {
    size_t length, count = 0;
    char *text = bytes(env, utf8, &length);
    uint32_t *tokens = (*env)->ExceptionCheck(env) ? NULL : memory(env, (length + 4) * sizeof *tokens);
    jintArray result = NULL;
    (void)self;
    if (tokens && fine(env, smidgen_tokenize(MODEL(model), text, text ? length : SMIDGEN_TEXT_END, (uint32_t)flags, tokens, length + 4, &count))) {
        result = ints(env, tokens, count);
    }
    free(tokens);
    free(text);
    return result;
}

NATIVE(jintArray, chat)(JNIEnv *env, jclass self, jlong model, jobjectArray roles, jobjectArray contents) {
    jsize turns = roles && contents ? (*env)->GetArrayLength(env, roles) : 0, i;
    smidgen_message *messages = calloc((size_t)turns + 1, sizeof *messages);
    uint32_t *tokens = NULL;
    size_t length, count = 0;
    jintArray result = NULL;
    (void)self;
    for (i = 0; messages && i < turns && !(*env)->ExceptionCheck(env); i++) {
        messages[i].role = bytes(env, (jbyteArray)(*env)->GetObjectArrayElement(env, roles, i), &length);
        if (!(*env)->ExceptionCheck(env)) {
            messages[i].content = bytes(env, (jbyteArray)(*env)->GetObjectArrayElement(env, contents, i), &length);
        }
    }
    if (messages && !(*env)->ExceptionCheck(env)) {
        smidgen_status status = smidgen_chat(MODEL(model), messages, (size_t)turns, NULL, 0, &count);
        if (status == SMIDGEN_ERROR_SHORT_BUFFER && (tokens = memory(env, count * sizeof *tokens)) != NULL) {
            status = smidgen_chat(MODEL(model), messages, (size_t)turns, tokens, count, &count);
        }
        if (!(*env)->ExceptionCheck(env) && fine(env, status)) {
            result = ints(env, tokens, count);
        }
    }
    for (i = 0; messages && i < turns; i++) {
        free((void *)messages[i].role);
        free((void *)messages[i].content);
    }
    free(messages);
    free(tokens);
    return result;
}

NATIVE(jstring, label)(JNIEnv *env, jclass self, jlong model, jint number) {
    char name[256];
    size_t length = 0;
    (void)self;
    return fine(env, smidgen_model_label(MODEL(model), (uint32_t)number, name, sizeof name, &length)) ? text_of(env, name, length) : NULL;
}

NATIVE(jlong, openSession)(JNIEnv *env, jclass self, jlong model, jint context, jint threads, jintArray cpus) {
    smidgen_session_params params = {sizeof params, (uint32_t)context, 0, SMIDGEN_KV_F16, (uint32_t)threads, NULL, 0};
    smidgen_session *session = NULL;
    jint *list = cpus ? (*env)->GetIntArrayElements(env, cpus, NULL) : NULL;
    (void)self;
    if (cpus && !list) {
        return 0;
    }
    params.cpus = (const uint32_t *)list;
    params.cpu_count = cpus ? (size_t)(*env)->GetArrayLength(env, cpus) : 0;
    fine(env, smidgen_session_open(MODEL(model), &params, &session));
    if (list) {
        (*env)->ReleaseIntArrayElements(env, cpus, list, JNI_ABORT);
    }
    return (jlong)(uintptr_t)session;
}

NATIVE(void, closeSession)(JNIEnv *env, jclass self, jlong session) {
    (void)self;
    fine(env, smidgen_session_close(SESSION(session)));
}

NATIVE(jboolean, cancel)(JNIEnv *env, jclass self, jlong session) {
    smidgen_status status = smidgen_session_cancel(SESSION(session));
    (void)self;
    return status == SMIDGEN_ERROR_IDLE ? JNI_FALSE : (jboolean)fine(env, status);
}

typedef struct {
    JNIEnv *env;
    jobject token;
    jmethodID piece;
} Call;

/* What Java throws ends the generation, and is thrown when it has ended. */
static int32_t piece(void *user, const char *text, size_t length) {
    Call *call = user;
    JNIEnv *env = call->env;
    jstring string = text_of(env, text, length);
    jboolean more = string ? (*env)->CallBooleanMethod(env, call->token, call->piece, string) : JNI_FALSE;
    if ((*env)->ExceptionCheck(env)) {
        return 1;
    }
    (*env)->DeleteLocalRef(env, string);
    return !more;
}

NATIVE(jint, generate)(JNIEnv *env, jclass self, jlong session, jintArray prompt, jint tokens, jfloat temperature, jfloat top_p, jlong seed, jobject token) {
    smidgen_generate_params params = {sizeof params, (uint32_t)tokens, temperature, 0, top_p, 0, 0, 0, 0, 0, 0, (uint64_t)seed, NULL, 0};
    smidgen_generate_result result = {sizeof result, 0, 0, 0, 0};
    Call call = {env, token, NULL};
    jint *list = prompt ? (*env)->GetIntArrayElements(env, prompt, NULL) : NULL;
    jsize count = prompt ? (*env)->GetArrayLength(env, prompt) : 1;
    smidgen_status status;
    (void)self;
    if (prompt && !list) {
        return 0;
    }
    if (token) {
        call.piece = (*env)->GetMethodID(env, (*env)->GetObjectClass(env, token), "piece", "(Ljava/lang/String;)Z");
    }
    if (!token || call.piece) {
        status = smidgen_generate(SESSION(session), (const uint32_t *)list, (size_t)count, &params, token ? piece : NULL, &call, &result);
        if (!(*env)->ExceptionCheck(env)) {
            fine(env, status);
        }
    }
    if (list) {
        (*env)->ReleaseIntArrayElements(env, prompt, list, JNI_ABORT);
    }
    return (jint)result.finish;
}

NATIVE(jfloatArray, embed)(JNIEnv *env, jclass self, jlong session, jbyteArray utf8) {
    size_t length, count = 0;
    char *text = bytes(env, utf8, &length);
    float values[4096];
    jfloatArray result = NULL;
    (void)self;
    if (!(*env)->ExceptionCheck(env) && fine(env, smidgen_embed_text(SESSION(session), text, text ? length : SMIDGEN_TEXT_END, values, 4096, &count))) {
        result = floats(env, values, count);
    }
    free(text);
    return result;
}

NATIVE(jfloatArray, classify)(JNIEnv *env, jclass self, jlong session, jbyteArray rgb, jint width, jint height) {
    smidgen_image image = {sizeof image, NULL, 0, 0, (uint32_t)width, (uint32_t)height};
    float values[4096];
    size_t count = 0;
    char *pixels = bytes(env, rgb, &image.length);
    jfloatArray result = NULL;
    (void)self;
    image.pixels = (const uint8_t *)pixels;
    if (!(*env)->ExceptionCheck(env) && fine(env, smidgen_classify_image(SESSION(session), &image, 0, values, 4096, &count))) {
        result = floats(env, values, count);
    }
    free(pixels);
    return result;
}

NATIVE(jbyteArray, save)(JNIEnv *env, jclass self, jlong session) {
    size_t length = 0;
    uint8_t *state = NULL;
    jbyteArray result = NULL;
    smidgen_status status = smidgen_session_save(SESSION(session), NULL, 0, &length);
    (void)self;
    if (status == SMIDGEN_ERROR_SHORT_BUFFER && (state = memory(env, length)) != NULL) {
        status = smidgen_session_save(SESSION(session), state, length, &length);
    }
    if (!(*env)->ExceptionCheck(env) && fine(env, status) && (result = (*env)->NewByteArray(env, (jsize)length)) != NULL) {
        (*env)->SetByteArrayRegion(env, result, 0, (jsize)length, (const jbyte *)state);
    }
    free(state);
    return result;
}

NATIVE(void, restore)(JNIEnv *env, jclass self, jlong session, jbyteArray array) {
    size_t length;
    char *state = bytes(env, array, &length);
    (void)self;
    if (!(*env)->ExceptionCheck(env)) {
        fine(env, smidgen_session_restore(SESSION(session), (const uint8_t *)state, length));
    }
    free(state);
}
