#pragma once

// What every file of the supervisor needs from the operating system: time, errors, its own
// messages.

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace reeve::exec {

MonoTime monotonic_now();

/// "<doing>: <text of err>".
Error system_error(int err, std::string_view doing);
std::string errno_text(int err);

/// One line on standard error, with the time. Lines are for people; nothing reads them.
void say(std::string_view line);

/// 16 random hexadecimal digits.
Result<std::string> random_name();

}  // namespace reeve::exec
