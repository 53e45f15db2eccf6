// reeve: the operator's command. `reeve X` also runs an installed reeve-X.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "runtime/process.h"
#include "verbs.h"

namespace reeve::cli {

namespace {

bool is_program(const char* word) {
    return word[0] != '\0' &&
           std::all_of(word, word + std::strlen(word),
                       [](char c) { return c >= 'a' && c <= 'z'; }) &&
           runtime::is_executable(runtime::self_exe_dir() + "/reeve-" + word);
}

/// Where the verb stands, behind global options.
int verb_at(int argc, char** argv) {
    int at = 1;
    while (at < argc && argv[at][0] == '-') {
        at += std::strcmp(argv[at], "--config") == 0 ? 2 : 1;
    }
    return at;
}

/// `reeve log ...` and `reeve replay ...` are programs of their own, beside this one; options
/// before their name are theirs too.
int replace_with(int verb, int argc, char** argv) {
    std::vector<char*> words(argv + 1, argv + argc);
    words.erase(words.begin() + verb - 1);
    return runtime::replace_process(runtime::self_exe_dir() + "/reeve-" + argv[verb],
                                    static_cast<int>(words.size()), words.data());
}

int run(int argc, char** argv) {
    if (const int verb = verb_at(argc, argv); verb < argc && is_program(argv[verb])) {
        return replace_with(verb, argc, argv);
    }
    CLI::App app{
        "reeve runs the work of a small cluster, and keeps running it when any one machine is "
        "gone.",
        "reeve"};
    Context context;
    Program program{app, context, {}};
    add_global_options(program);
    app.footer(std::string("Also: reeve log ... (event logs), reeve replay ... (rebuild, verify, "
                           "time travel).\n") +
               exit_status_help);
    register_submit(program);
    register_jobs(program);
    register_nodes(program);
    register_members(program);
    register_policy(program);
    register_nas(program);
    register_init(program);
    register_config(program);
    register_doctor(program);
    register_retention(program);
    return run_program(program, argc, argv);
}

}  // namespace
}  // namespace reeve::cli

int main(int argc, char** argv) { return reeve::cli::run(argc, argv); }
