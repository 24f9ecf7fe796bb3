import CSmidgen

/// What libsmidgen says was wrong.
public struct SmidgenError: Error, CustomStringConvertible {
    public let status: Int32
    public let description: String

    static func check(_ status: smidgen_status) throws {
        if status != SMIDGEN_OK {
            throw SmidgenError(status: status, description: String(cString: smidgen_error_message()))
        }
    }
}

/// Asks how much room is needed, then fills it.
private func filled<T>(_ zero: T, _ fill: (UnsafeMutablePointer<T>?, Int, inout Int) -> smidgen_status) throws -> [T] {
    var count = 0
    let status = fill(nil, 0, &count)
    if status != SMIDGEN_ERROR_SHORT_BUFFER { try SmidgenError.check(status) }
    var values = [T](repeating: zero, count: count + 1)
    try SmidgenError.check(values.withUnsafeMutableBufferPointer { fill($0.baseAddress, $0.count, &count) })
    return Array(values.prefix(count))
}

/// A model. Any number of threads may use it at once.
public final class Model {
    let handle: OpaquePointer

    public init(path: String) throws {
        var opened: OpaquePointer?
        try SmidgenError.check(smidgen_model_open_path(path, nil, &opened))
        handle = opened!
    }

    deinit { smidgen_model_close(handle) }

    public func tokenize(_ text: String, flags: UInt32 = 1) throws -> [UInt32] {
        let utf8 = Array(text.utf8)
        return try filled(UInt32(0)) { tokens, capacity, count in
            utf8.withUnsafeBytes {
                smidgen_tokenize(handle, $0.bindMemory(to: CChar.self).baseAddress, utf8.count, flags, tokens, capacity, &count)
            }
        }
    }

    /// The tokens of a conversation, up to where the next answer begins.
    public func chat(_ messages: [(role: String, content: String)]) throws -> [UInt32] {
        let copies = messages.flatMap { [Array($0.role.utf8CString), Array($0.content.utf8CString)] }
        let texts = copies.map { copy -> UnsafeMutablePointer<CChar> in
            let text = UnsafeMutablePointer<CChar>.allocate(capacity: copy.count)
            text.initialize(from: copy, count: copy.count)
            return text
        }
        defer { texts.forEach { $0.deallocate() } }
        let turns = (0..<messages.count).map { smidgen_message(role: texts[2 * $0], content: texts[2 * $0 + 1]) }
        return try filled(UInt32(0)) { smidgen_chat(handle, turns, turns.count, $0, $1, &$2) }
    }

    public func label(_ number: UInt32) throws -> String {
        let text = try filled(CChar(0)) { smidgen_model_label(handle, number, $0, $1, &$2) }
        return String(decoding: text.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// A model at work. One thread at a time may use it; `cancel` any.
public final class Session {
    private let handle: OpaquePointer
    private let model: Model

    public init(_ model: Model, context: UInt32 = 0, threads: UInt32 = 0) throws {
        var params = smidgen_session_params()
        params.size = MemoryLayout<smidgen_session_params>.size
        params.context = context
        params.threads = threads
        var opened: OpaquePointer?
        try SmidgenError.check(smidgen_session_open(model.handle, &params, &opened))
        handle = opened!
        self.model = model
    }

    deinit { smidgen_session_close(handle) }

    /// Calls `token` with pieces of text until it says false; says why it ended: one of `SMIDGEN_FINISH_...`.
    @discardableResult
    public func generate(
        _ prompt: [UInt32], maxTokens: UInt32 = 0, temperature: Float = 0, seed: UInt64 = 0, token: @escaping (String) -> Bool
    ) throws -> UInt32 {
        final class Call {
            let token: (String) -> Bool
            init(_ token: @escaping (String) -> Bool) { self.token = token }
        }
        var params = smidgen_generate_params()
        params.size = MemoryLayout<smidgen_generate_params>.size
        params.max_tokens = maxTokens
        params.temperature = temperature
        params.seed = seed
        var result = smidgen_generate_result()
        result.size = MemoryLayout<smidgen_generate_result>.size
        let call = Call(token)
        let piece: smidgen_token_fn = { user, text, _ in
            let call = Unmanaged<Call>.fromOpaque(user!).takeUnretainedValue()
            return call.token(String(cString: text!)) ? 0 : 1
        }
        let status = withExtendedLifetime(call) {
            smidgen_generate(handle, prompt, prompt.count, &params, piece, Unmanaged.passUnretained(call).toOpaque(), &result)
        }
        try SmidgenError.check(status)
        return result.finish
    }

    @discardableResult
    public func cancel() -> Bool { smidgen_session_cancel(handle) == SMIDGEN_OK }

    public func embed(_ text: String) throws -> [Float] {
        let utf8 = Array(text.utf8CString)
        return try filled(Float(0)) { smidgen_embed_text(handle, utf8, utf8.count - 1, $0, $1, &$2) }
    }

    /// The probabilities of an image's classes. `rgb` holds three bytes for each pixel.
    public func classify(rgb: [UInt8], width: UInt32, height: UInt32) throws -> [Float] {
        try rgb.withUnsafeBufferPointer { pixels in
            var image = smidgen_image()
            image.size = MemoryLayout<smidgen_image>.size
            image.pixels = pixels.baseAddress
            image.length = pixels.count
            image.width = width
            image.height = height
            return try filled(Float(0)) { smidgen_classify_image(handle, &image, 0, $0, $1, &$2) }
        }
    }

    public func save() throws -> [UInt8] {
        try filled(UInt8(0)) { smidgen_session_save(handle, $0, $1, &$2) }
    }

    public func restore(_ state: [UInt8]) throws {
        try SmidgenError.check(smidgen_session_restore(handle, state, state.count))
    }
}
