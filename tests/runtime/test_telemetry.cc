#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/spdlog_telemetry.h"
#include "support.h"

namespace reeve::runtime {
namespace {

TEST(Telemetry, LinesHaveTimeLevelAndCategory) {
    const TempDir dir;
    std::ofstream(dir / "log") << "before\n";
    {
        auto telemetry = SpdlogTelemetry::open({.file = dir / "log"});
        ASSERT_TRUE(telemetry);
        (*telemetry)->log(env::Level::warning, "mirror", "two\nlines {} \x1b[31m");
        (*telemetry)->log(env::Level::debug, "mirror", "below the minimum");
        (*telemetry)->log(env::Level::error, "log", "bad");
    }
    const auto text = slurp(dir / "log");
    const testing::internal::RE form(
        "^before\n20..-..-..T..:..:..\\....Z warn  \\[mirror\\] two\\\\nlines \\{\\} "
        "\\\\x1b\\[31m\n20..-..-..T..:..:..\\....Z error \\[log\\] bad\n$");
    EXPECT_TRUE(testing::internal::RE::FullMatch(text, form)) << text;
    EXPECT_EQ(SpdlogTelemetry::open({.file = dir.path()}).error().code, Code::io);
}

TEST(Telemetry, TheJournalGetsPrioritiesInsteadOfTimes) {
    const TempDir dir;
    const int kept = ::dup(2);
    const int file = ::open((dir / "err").c_str(), O_CREAT | O_RDWR, 0600);
    struct stat st {};
    ASSERT_EQ(::fstat(file, &st), 0);
    ::dup2(file, 2);
    ::setenv("JOURNAL_STREAM",
             (std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino)).c_str(), 1);
    SpdlogTelemetry().log(env::Level::info, "daemon", "here");
    ::dup2(kept, 2);
    SpdlogTelemetry().log(env::Level::info, "daemon", "elsewhere: this stderr is not the journal");
    ::unsetenv("JOURNAL_STREAM");
    ::close(kept);
    ::close(file);
    EXPECT_EQ(slurp(dir / "err"), "<6>info  [daemon] here\n");
}

TEST(Telemetry, MetricsAddUpAndRender) {
    SpdlogTelemetry telemetry;
    telemetry.count("a_total", 2);
    telemetry.count("a_total", 3);
    telemetry.count("ops_total{op=\"read\"}", 1);
    telemetry.count("ops_total{op=\"write\"}", 4);
    telemetry.gauge("depth", 7);
    telemetry.gauge("depth", 1.5);
    telemetry.gauge("a_total", 9);  // not its kind
    telemetry.count("bad name", 1);
    for (int i = 1; i <= 100; ++i) {
        telemetry.observe("took_ms", i);
    }
    EXPECT_EQ(telemetry.render_prometheus(),
              "# TYPE a_total counter\na_total 5\n"
              "# TYPE bad_name counter\nbad_name 1\n"
              "# TYPE depth gauge\ndepth 1.5\n"
              "# TYPE ops_total counter\nops_total{op=\"read\"} 1\nops_total{op=\"write\"} 4\n"
              "# TYPE reeve_telemetry_dropped_total counter\nreeve_telemetry_dropped_total 1\n"
              "# TYPE took_ms summary\ntook_ms{quantile=\"0.5\"} 53.81737057623773\n"
              "took_ms{quantile=\"0.99\"} 100\ntook_ms_sum 5050\ntook_ms_count 100\n"
              "# TYPE took_ms_max gauge\ntook_ms_max 100\n");
}

TEST(Telemetry, NamesAreBoundedAndOddValuesHarmless) {
    SpdlogTelemetry telemetry;
    telemetry.observe("x", -1);
    telemetry.observe("x", 0);
    telemetry.observe("x", 1e300);
    telemetry.observe("x", std::numeric_limits<double>::quiet_NaN());
    for (std::size_t i = 0; i < SpdlogTelemetry::max_metrics + 10; ++i) {
        telemetry.count("n" + std::to_string(i), 1);
    }
    const auto all = telemetry.snapshot();
    EXPECT_EQ(all.size(), SpdlogTelemetry::max_metrics + 1);
    EXPECT_EQ(all.back().name, "x");
    EXPECT_EQ(all.back().count, 3);
    EXPECT_EQ(all.back().max, 1e300);
    EXPECT_EQ(all[all.size() - 2].count, 11);  // dropped
}

}  // namespace
}  // namespace reeve::runtime
