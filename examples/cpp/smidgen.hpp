// libsmidgen for C++17: handles that close themselves, errors as exceptions, exceptions of callbacks carried across.
#pragma once
#include <smidgen.h>

#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smidgen {

struct Error : std::runtime_error {
    smidgen_status status;
    explicit Error(smidgen_status status) : std::runtime_error(smidgen_error_message()), status(status) {}
};

inline void check(smidgen_status status) {
    if (status != SMIDGEN_OK) throw Error(status);
}

// A struct of zeros that knows its size.
template <typename T>
T params() {
    T value;
    std::memset(&value, 0, sizeof value);
    value.size = sizeof value;
    return value;
}

// Asks how much room is needed, then fills it.
template <typename T, typename Fill>
std::vector<T> filled(Fill fill) {
    std::size_t count = 0;
    const smidgen_status status = fill(nullptr, std::size_t{0}, &count);
    std::vector<T> values(count + 1);
    if (status != SMIDGEN_OK && status != SMIDGEN_ERROR_SHORT_BUFFER) throw Error(status);
    check(fill(values.data(), values.size(), &count));
    values.resize(count);
    return values;
}

struct Message {
    std::string role, content;
};

class Model {
    struct Close {
        void operator()(smidgen_model *model) const noexcept { smidgen_model_close(model); }
    };
    std::unique_ptr<smidgen_model, Close> handle;

public:
    explicit Model(const std::string &path, const smidgen_model_params *params = nullptr) {
        smidgen_model *opened = nullptr;
        check(smidgen_model_open_path(path.c_str(), params, &opened));
        handle.reset(opened);
    }
    smidgen_model *get() const noexcept { return handle.get(); }

    smidgen_model_info info() const {
        auto info = params<smidgen_model_info>();
        check(smidgen_model_get_info(get(), &info));
        return info;
    }
    std::vector<std::uint32_t> tokenize(std::string_view text, std::uint32_t flags = SMIDGEN_TOKENS_FRAMED) const {
        return filled<std::uint32_t>([&](std::uint32_t *tokens, std::size_t capacity, std::size_t *count) {
            return smidgen_tokenize(get(), text.data(), text.size(), flags, tokens, capacity, count);
        });
    }
    std::string detokenize(const std::vector<std::uint32_t> &tokens) const {
        const auto text = filled<char>([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return smidgen_detokenize(get(), tokens.data(), tokens.size(), 0, buffer, capacity, length);
        });
        return {text.begin(), text.end()};
    }
    std::vector<std::uint32_t> chat(const std::vector<Message> &messages) const {
        std::vector<smidgen_message> turns;
        for (const auto &message : messages) turns.push_back({message.role.c_str(), message.content.c_str()});
        return filled<std::uint32_t>([&](std::uint32_t *tokens, std::size_t capacity, std::size_t *count) {
            return smidgen_chat(get(), turns.data(), turns.size(), tokens, capacity, count);
        });
    }
    std::string label(std::uint32_t number) const {
        const auto text = filled<char>([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return smidgen_model_label(get(), number, buffer, capacity, length);
        });
        return {text.begin(), text.end()};
    }
};

class Session {
    struct Close {
        void operator()(smidgen_session *session) const noexcept { smidgen_session_close(session); }
    };
    std::unique_ptr<smidgen_session, Close> handle;

public:
    explicit Session(const Model &model, const smidgen_session_params *params = nullptr) {
        smidgen_session *opened = nullptr;
        check(smidgen_session_open(model.get(), params, &opened));
        handle.reset(opened);
    }
    smidgen_session *get() const noexcept { return handle.get(); }

    // Calls `token` with each piece of text until it returns false. What it throws is thrown here.
    smidgen_generate_result generate(const std::vector<std::uint32_t> &prompt, const smidgen_generate_params &given,
                                     const std::function<bool(std::string_view)> &token) {
        struct Call {
            const std::function<bool(std::string_view)> &token;
            std::exception_ptr thrown;
        } call{token, nullptr};
        const smidgen_token_fn piece = [](void *user, const char *text, std::size_t length) -> std::int32_t {
            auto &call = *static_cast<Call *>(user);
            try {
                return !call.token({text, length});
            } catch (...) {
                call.thrown = std::current_exception();
                return 1;
            }
        };
        auto result = params<smidgen_generate_result>();
        const smidgen_status status = smidgen_generate(get(), prompt.data(), prompt.size(), &given, piece, &call, &result);
        if (call.thrown) std::rethrow_exception(call.thrown);
        check(status);
        return result;
    }
    bool cancel() const { return smidgen_session_cancel(get()) == SMIDGEN_OK; }

    std::vector<float> embed(std::string_view text) {
        return filled<float>([&](float *values, std::size_t capacity, std::size_t *count) {
            return smidgen_embed_text(get(), text.data(), text.size(), values, capacity, count);
        });
    }
    std::vector<float> classify(const smidgen_image &image) {
        return filled<float>([&](float *values, std::size_t capacity, std::size_t *count) {
            return smidgen_classify_image(get(), &image, 0, values, capacity, count);
        });
    }
    std::vector<std::uint8_t> save() const {
        return filled<std::uint8_t>([&](std::uint8_t *bytes, std::size_t capacity, std::size_t *length) {
            return smidgen_session_save(get(), bytes, capacity, length);
        });
    }
    void restore(const std::vector<std::uint8_t> &state) {
        check(smidgen_session_restore(get(), state.data(), state.size()));
    }
};

}  // namespace smidgen
