package dev.smidgen;

import java.nio.charset.StandardCharsets;

/** Continues a text and checks what can go wrong:  NativeTest MODEL.gguf TEXT TOKENS IMAGE-MODEL.gguf */
public final class NativeTest {
    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void fails(int status, Runnable call) {
        try {
            call.run();
        } catch (SmidgenException error) {
            holds(error.status == status && !error.getMessage().isEmpty(), "status " + error.status + ": " + error.getMessage());
            return;
        }
        throw new AssertionError("no exception, expected status " + status);
    }

    private static void holds(boolean condition, String text) {
        if (!condition) {
            throw new AssertionError(text);
        }
    }

    private static String story(long session, int[] prompt, int tokens) {
        StringBuilder text = new StringBuilder();
        Native.generate(session, prompt, tokens, 0, 0, 0, piece -> text.append(piece) != null);
        return text.toString();
    }

    public static void main(String[] args) throws Exception {
        long model = Native.openPath(args[0]);
        long session = Native.openSession(model, 256, 2, null);
        int[] prompt = Native.tokenize(model, utf8(args[1]), 3);
        int tokens = Integer.parseInt(args[2]);
        String text = story(session, prompt, tokens);

        fails(1, () -> Native.openPath(null));
        fails(7, () -> Native.openPath("/no/such/file"));
        fails(3, () -> Native.closeModel(12345));
        fails(1, () -> Native.tokenize(model, null, 0));
        fails(1, () -> Native.generate(session, null, 1, 0, 0, 0, null));
        byte[][] roles = {utf8("user")}, contents = {utf8("hello")};
        holds(Native.chat(model, roles, contents).length > 3, "a conversation");
        fails(9, () -> Native.embed(session, utf8("hello")));
        try {
            Native.generate(session, prompt, 5, 0, 0, 0, piece -> { throw new IllegalStateException("thrown across"); });
            throw new AssertionError("the exception is lost");
        } catch (IllegalStateException expected) {
            holds(expected.getMessage().equals("thrown across"), "another exception");
        }
        holds(Native.generate(session, prompt, 50, 0, 0, 0, piece -> false) == 5, "stopped by the callback");
        holds(!Native.cancel(session), "nothing to cancel");
        holds(Native.generate(session, prompt, 50, 0, 0, 0, piece -> Native.cancel(session)) == 5, "cancelled");
        fails(6, () -> Native.generate(session, prompt, 5, 0, 0, 0, piece -> { story(session, prompt, 1); return true; }));

        story(session, prompt, 3);
        byte[] state = Native.save(session);
        long other = Native.openSession(model, 300, 1, null);
        Native.restore(other, state);
        holds(story(other, prompt, tokens).equals(text), "a restored session tells another story");
        state[state.length / 2] ^= 1;
        fails(13, () -> Native.restore(other, state));
        String[] told = new String[2];
        Thread thread = new Thread(() -> told[0] = story(other, prompt, tokens));
        thread.start();
        told[1] = story(session, prompt, tokens);
        thread.join();
        holds(text.equals(told[0]) && text.equals(told[1]), "two threads tell other stories");
        Native.closeSession(other);
        Native.closeSession(session);
        fails(3, () -> Native.closeSession(session));
        Native.closeModel(model);

        long seeing = Native.openPath(args[3]);
        long eye = Native.openSession(seeing, 0, 1, null);
        float[] classes = Native.classify(eye, new byte[3 * 20 * 10], 20, 10);
        holds(classes.length == 10 && !Native.label(seeing, 3).isEmpty(), "classes");
        fails(9, () -> Native.chat(seeing, roles, contents));
        fails(2, () -> Native.classify(eye, new byte[10], 20, 10));
        Native.closeSession(eye);
        Native.closeModel(seeing);
        System.out.write(utf8(text));
        System.out.flush();
    }
}
