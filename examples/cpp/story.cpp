// Continues a text, greedily, and goes on from a saved state:  story MODEL.gguf TEXT TOKENS
#include "smidgen.hpp"

#include <iostream>

int main(int argc, char **argv) try {
    if (argc != 4) throw std::invalid_argument("usage: story MODEL.gguf TEXT TOKENS");
    const smidgen::Model model(argv[1]);
    smidgen::Session session(model);
    auto params = smidgen::params<smidgen_generate_params>();
    params.max_tokens = static_cast<std::uint32_t>(std::stoul(argv[3]));
    const auto prompt = model.tokenize(argv[2], SMIDGEN_TOKENS_FRAMED | SMIDGEN_TOKENS_CONTROL);
    std::string text, again;
    session.generate(prompt, params, [&](std::string_view piece) { return text += piece, true; });

    smidgen::Session other(model);
    other.restore(session.save());
    other.generate(prompt, params, [&](std::string_view piece) { return again += piece, true; });
    if (text != again) throw std::logic_error("a restored session tells another story");
    try {
        session.generate(prompt, params, [](std::string_view) -> bool { throw std::out_of_range("thrown across"); });
        throw std::logic_error("the exception is lost");
    } catch (const std::out_of_range &) {
    }
    std::cout << text << std::flush;
    return 0;
} catch (const std::exception &error) {
    std::cerr << "story: " << error.what() << '\n';
    return 1;
}
