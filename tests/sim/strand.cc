#include "tests/sim/strand.h"

#include <cxxabi.h>

#include <array>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstring>
#include <optional>
#include <semaphore>
#include <thread>

#include "base/check.h"

// g++ says so with a macro of its own, clang with a feature.
#if !defined(__SANITIZE_ADDRESS__) && defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1  // NOLINT(bugprone-reserved-identifier)
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace reeve::sim {
namespace {

constexpr std::size_t stack_bytes = 512 * 1024;  // only pages that are touched cost memory

/// The exceptions in flight are counted per thread by the C++ runtime; a fiber needs its own count,
/// or two tasks that unwind one after the other would mix theirs.
class ExceptionState {
public:
    void swap() {
        auto* live = reinterpret_cast<unsigned char*>(abi::__cxa_get_globals());
        std::array<unsigned char, bytes> other = saved_;
        std::memcpy(saved_.data(), live, bytes);
        std::memcpy(live, other.data(), bytes);
    }

private:
    static constexpr std::size_t bytes =
        sizeof(void*) + sizeof(unsigned int);  // Itanium C++ ABI 2.2.2
    std::array<unsigned char, bytes> saved_{};
};

/// What the sanitizers must be told at a switch of stacks. Nothing in a plain build.
class SwitchNotes {
public:
    explicit SwitchNotes(const boost::context::stack_context& stack) : stack_(stack) {
        forget_frames();
#if defined(__SANITIZE_THREAD__)
        own_fiber_ = __tsan_create_fiber(0);
#endif
    }
    ~SwitchNotes() {
        forget_frames();
#if defined(__SANITIZE_THREAD__)
        __tsan_destroy_fiber(own_fiber_);
#endif
    }
    SwitchNotes(const SwitchNotes&) = delete;
    SwitchNotes& operator=(const SwitchNotes&) = delete;

    void before_resume() {
#if defined(__SANITIZE_ADDRESS__)
        const auto* bottom = static_cast<const char*>(stack_.sp) - stack_.size;
        __sanitizer_start_switch_fiber(&scheduler_fake_, bottom, stack_.size);
#endif
#if defined(__SANITIZE_THREAD__)
        scheduler_fiber_ = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(own_fiber_, 0);
#endif
    }
    void after_resume() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(scheduler_fake_, nullptr, nullptr);
#endif
    }
    void on_entry() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom_, &scheduler_size_);
#endif
    }
    void before_yield([[maybe_unused]] bool last) {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_start_switch_fiber(last ? nullptr : &own_fake_, scheduler_bottom_,
                                       scheduler_size_);
#endif
#if defined(__SANITIZE_THREAD__)
        __tsan_switch_to_fiber(scheduler_fiber_, 0);
#endif
    }
    void after_yield() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(own_fake_, &scheduler_bottom_, &scheduler_size_);
#endif
    }

private:
    /// Who was killed does not return from its frames, and the next owner of that memory would be
    /// told that it writes over them.
    void forget_frames() {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(static_cast<const char*>(stack_.sp) - stack_.size,
                                      stack_.size);
#endif
    }

    [[maybe_unused]] boost::context::stack_context stack_;
#if defined(__SANITIZE_ADDRESS__)
    void* scheduler_fake_ = nullptr;
    void* own_fake_ = nullptr;
    const void* scheduler_bottom_ = nullptr;
    std::size_t scheduler_size_ = 0;
#endif
#if defined(__SANITIZE_THREAD__)
    void* own_fiber_ = nullptr;
    void* scheduler_fiber_ = nullptr;
#endif
};

class FiberStrand : public Strand {
public:
    explicit FiberStrand(std::function<void()> body) : body_(std::move(body)) {}

    ~FiberStrand() override { CHECK(!fiber_); }

    void resume() override {
        if (!started_) {
            start();
        }
        exceptions_.swap();
        notes_->before_resume();
        fiber_ = std::move(fiber_).resume();
        notes_->after_resume();
        exceptions_.swap();
    }

    void yield() override {
        notes_->before_yield(false);
        scheduler_ = std::move(scheduler_).resume();
        notes_->after_yield();
    }

private:
    void start() {
        started_ = true;
        boost::context::protected_fixedsize_stack allocator(stack_bytes);
        const auto stack = allocator.allocate();
        notes_.emplace(stack);
        const boost::context::preallocated where(stack.sp, stack.size, stack);
        fiber_ = boost::context::fiber(std::allocator_arg, where, allocator,
                                       [this](boost::context::fiber&& scheduler) {
                                           notes_->on_entry();
                                           scheduler_ = std::move(scheduler);
                                           body_();
                                           notes_->before_yield(true);
                                           return std::move(scheduler_);
                                       });
    }

    std::function<void()> body_;
    std::optional<SwitchNotes> notes_;
    boost::context::fiber fiber_;
    boost::context::fiber scheduler_;
    ExceptionState exceptions_;
    bool started_ = false;
};

class ThreadStrand : public Strand {
public:
    explicit ThreadStrand(std::function<void()> body) : body_(std::move(body)) {}

    ~ThreadStrand() override {
        if (thread_.joinable()) {
            thread_.join();
        }
    }

    void resume() override {
        if (!thread_.joinable()) {
            thread_ = std::thread([this] {
                mine_.acquire();
                body_();
                schedulers_.release();
            });
        }
        mine_.release();
        schedulers_.acquire();
    }

    void yield() override {
        schedulers_.release();
        mine_.acquire();
    }

private:
    std::function<void()> body_;
    std::thread thread_;
    std::binary_semaphore mine_{0};
    std::binary_semaphore schedulers_{0};
};

}  // namespace

std::unique_ptr<Strand> make_strand(Backend backend, std::function<void()> body) {
    if (backend == Backend::threads) {
        return std::make_unique<ThreadStrand>(std::move(body));
    }
    return std::make_unique<FiberStrand>(std::move(body));
}

}  // namespace reeve::sim
