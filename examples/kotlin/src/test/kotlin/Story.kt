import dev.smidgen.Model
import dev.smidgen.Session

/** Continues a text, greedily:  Story MODEL.gguf TEXT TOKENS */
fun main(args: Array<String>) {
    Model(args[0]).use { model ->
        Session(model).use { session ->
            session.generate(model.tokenize(args[1]), maxTokens = args[2].toInt()) { text ->
                print(text)
                true
            }
        }
    }
    System.out.flush()
}
