package dev.smidgen

import java.io.Closeable

/** A model. On Android, open an asset by `assets.openFd(name)`: its descriptor, `startOffset` and `length`. */
class Model private constructor(internal val handle: Long) : Closeable {
    constructor(path: String) : this(Native.openPath(path))
    constructor(fd: Int, offset: Long, length: Long) : this(Native.openDescriptor(fd, offset, length))

    /** The tokens of a prompt. Control tokens that it spells are text. */
    fun tokenize(text: String): IntArray = Native.tokenize(handle, text.toByteArray(), FRAMED)

    /** The tokens of a conversation of roles and contents, up to where the next answer begins. */
    fun chat(messages: List<Pair<String, String>>): IntArray = Native.chat(
        handle,
        messages.map { it.first.toByteArray() }.toTypedArray(),
        messages.map { it.second.toByteArray() }.toTypedArray()
    )

    fun label(number: Int): String = Native.label(handle, number)

    override fun close() = Native.closeModel(handle)

    private companion object {
        const val FRAMED = 1
    }
}

/** A model at work. One thread at a time may use it; [cancel] any. A phone's big cores are named by [cpus]. */
class Session(model: Model, context: Int = 0, threads: Int = 0, cpus: IntArray? = null) : Closeable {
    private val handle = Native.openSession(model.handle, context, threads, cpus)

    /** Calls [token] with pieces of text until it says false; says why it ended. */
    fun generate(
        prompt: IntArray,
        maxTokens: Int = 0,
        temperature: Float = 0f,
        topP: Float = 0f,
        seed: Long = 0,
        token: (String) -> Boolean
    ): Int = Native.generate(handle, prompt, maxTokens, temperature, topP, seed, Native.Token { token(it) })

    fun cancel(): Boolean = Native.cancel(handle)

    fun embed(text: String): FloatArray = Native.embed(handle, text.toByteArray())

    fun classify(rgb: ByteArray, width: Int, height: Int): FloatArray = Native.classify(handle, rgb, width, height)

    fun save(): ByteArray = Native.save(handle)

    fun restore(state: ByteArray) = Native.restore(handle, state)

    override fun close() = Native.closeSession(handle)
}
