#include "tests/sim/lock_check.h"

#include <pthread.h>

namespace {

thread_local int held = 0;

}  // namespace

// The names that ld gives to wrapped symbols; reserved identifiers by nature.
extern "C" {

int __real_pthread_mutex_lock(pthread_mutex_t* mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t* mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t* mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t* mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t* mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex) {
    const int result = __real_pthread_mutex_lock(mutex);
    held += result == 0 ? 1 : 0;
    return result;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t* mutex) {
    const int result = __real_pthread_mutex_trylock(mutex);
    held += result == 0 ? 1 : 0;
    return result;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t* mutex) {
    const int result = __real_pthread_mutex_unlock(mutex);
    held -= result == 0 ? 1 : 0;
    return result;
}

}  // extern "C"

namespace reeve::sim {

int locks_held() { return held; }

}  // namespace reeve::sim
