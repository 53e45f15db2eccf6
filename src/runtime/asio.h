#pragma once

// The one place that includes Asio, so that its cost and its switches are paid and set once.

#define BOOST_ASIO_NO_DEPRECATED
#if defined(__SANITIZE_THREAD__)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK  // the sanitizer does not know fences
#endif

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

namespace reeve::runtime {

namespace asio = boost::asio;
using boost::system::error_code;

}  // namespace reeve::runtime
