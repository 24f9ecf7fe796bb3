import Smidgen

// Continues a text, greedily:  Story MODEL.gguf TEXT TOKENS
let words = CommandLine.arguments
let model = try Model(path: words[1])
let session = try Session(model)
try session.generate(model.tokenize(words[2]), maxTokens: UInt32(words[3])!) { text in
    print(text, terminator: "")
    return true
}
