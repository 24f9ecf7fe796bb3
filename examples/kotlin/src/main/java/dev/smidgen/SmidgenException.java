package dev.smidgen;

/** What libsmidgen says was wrong. */
public final class SmidgenException extends RuntimeException {
    private static final long serialVersionUID = 1;
    /** One of {@code SMIDGEN_ERROR_...}. */
    public final int status;

    public SmidgenException(int status, String message) {
        super(message);
        this.status = status;
    }
}
