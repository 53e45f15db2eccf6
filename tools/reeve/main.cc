// reeve: the operator's command. `reeve X` also runs an installed reeve-X.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/process.h"
#include "verbs.h"

namespace reeve::cli {

namespace {

/// `reeve log ...` and `reeve replay ...` are programs of their own, beside this one.
int replace_with(const std::string& name, int argc, char** argv) {
    return runtime::replace_process(runtime::self_exe_dir() + "/reeve-" + name, argc - 2, argv + 2);
}

bool is_program(const char* word) {
    return word[0] != '\0' &&
           std::all_of(word, word + std::strlen(word),
                       [](char c) { return c >= 'a' && c <= 'z'; }) &&
           runtime::is_executable(runtime::self_exe_dir() + "/reeve-" + word);
}

int run(int argc, char** argv) {
    if (argc > 1 && is_program(argv[1])) {
        return replace_with(argv[1], argc, argv);
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
