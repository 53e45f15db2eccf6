#include "node/turn_times.h"

#include <algorithm>
#include <bit>

namespace reeve::node {
namespace {

constexpr Duration window = seconds(60);
constexpr unsigned part_bits = 3;  // eight parts of an octave

}  // namespace

// Below eight each microsecond has a bucket; above, the three bits behind the leading one choose
// the part of the octave.
std::size_t DurationHistogram::index_of(std::uint64_t us) {
    if (us < parts) {
        return us;
    }
    const auto octave = static_cast<unsigned>(std::bit_width(us)) - 1 - part_bits;
    const std::size_t index = (octave + 1) * parts + ((us >> octave) - parts);
    return std::min(index, parts * octaves - 1);
}

std::uint64_t DurationHistogram::bound_of(std::size_t index) {
    if (index < parts) {
        return index;
    }
    const std::size_t octave = index / parts - 1;
    return ((index % parts + parts + 1) << octave) - 1;
}

void DurationHistogram::add(Duration duration) {
    const auto us = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0)) / 1000;
    ++counts_[index_of(us)];
    ++count_;
    max_us_ = std::max(max_us_, us);
}

std::uint64_t DurationHistogram::quantile_us(unsigned per_mille) const {
    const std::uint64_t wanted = (count_ * per_mille + 999) / 1000;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size() && count_ > 0; ++i) {
        seen += counts_[i];
        if (seen >= wanted) {
            return std::min(bound_of(i), max_us_);
        }
    }
    return max_us_;
}

std::vector<DurationHistogram::Bucket> DurationHistogram::buckets() const {
    std::vector<Bucket> out;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        if (counts_[i] > 0) {
            out.push_back({bound_of(i), counts_[i]});
        }
    }
    return out;
}

void TurnTimes::turn(MonoTime due, MonoTime began, MonoTime ended) {
    if (first_) {
        first_ = false;
        began_ = began;
    }
    if (began - began_ >= window) {
        last_ = current_;
        current_ = Window{};
        began_ = began;
        ++minutes_;
    }
    for (auto* one : {&current_, &run_}) {
        one->work.add(ended - began);
        one->lateness.add(began - std::min(due, began));
    }
}

}  // namespace reeve::node
