package dev.smidgen;

/** The functions of libsmidgen_jni; {@code Smidgen.kt} makes classes of them. Errors are {@link SmidgenException}. */
public final class Native {
    private Native() {}

    static {
        System.loadLibrary("smidgen_jni");
    }

    /** Takes pieces of a text; ends the generation with false. */
    public interface Token {
        boolean piece(String text);
    }

    public static native long openPath(String path);

    public static native long openDescriptor(int fd, long offset, long length);

    public static native void closeModel(long model);

    public static native int[] tokenize(long model, byte[] utf8, int flags);

    public static native int[] chat(long model, byte[][] roles, byte[][] contents);

    public static native String label(long model, int number);

    public static native long openSession(long model, int context, int threads, int[] cpus);

    public static native void closeSession(long session);

    public static native boolean cancel(long session);

    /** Returns why the generation ended: one of {@code SMIDGEN_FINISH_...}. */
    public static native int generate(long session, int[] prompt, int maxTokens, float temperature, float topP, long seed, Token token);

    public static native float[] embed(long session, byte[] utf8);

    public static native float[] classify(long session, byte[] rgb, int width, int height);

    public static native byte[] save(long session);

    public static native void restore(long session, byte[] state);
}
