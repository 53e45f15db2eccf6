// A job that writes when it began: CLOCK_MONOTONIC in nanoseconds, into the file that it is given.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

int main(int argc, char** argv) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    char text[32];
    const int n = std::snprintf(text, sizeof text, "%lld\n",
                                static_cast<long long>(now.tv_sec) * 1'000'000'000 + now.tv_nsec);
    const int file = argc == 2 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0660) : -1;
    return file < 0 || write(file, text, static_cast<std::size_t>(n)) != n ? 1 : 0;
}
