#include "daemon/run.h"

int main(int argc, char** argv) {
    return reeve::daemon::run_daemon(reeve::node::Role::worker, argc, argv);
}
