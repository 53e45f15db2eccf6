#include "base/result.h"

namespace reeve {

std::string_view code_name(Code code) {
    switch (code) {
        case Code::not_found: return "not_found";
        case Code::conflict: return "conflict";
        case Code::invalid: return "invalid";
        case Code::corrupt: return "corrupt";
        case Code::io: return "io";
        case Code::full: return "full";
        case Code::timeout: return "timeout";
        case Code::unavailable: return "unavailable";
        case Code::cancelled: return "cancelled";
        case Code::unsupported: return "unsupported";
        case Code::denied: return "denied";
        case Code::replaced: return "replaced";
    }
    return "unknown";
}

}  // namespace reeve
