//! Where log lines go, and how they look: text for people on a terminal, JSON for collectors. Invariant: every
//! line of a collected log is JSON, a panic's as well; a log that cannot be written stops nobody.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// To standard error; `EVENSONG_LOG` filters (`info`, `debug`, `evensong::http=debug`, …), else `default` does.
pub fn to_stderr(default: &str) -> anyhow::Result<()> {
    let filter = std::env::var("EVENSONG_LOG").unwrap_or_else(|_| default.to_string());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        anyhow::anyhow!(
            "EVENSONG_LOG = {filter}: {error}; a level as info, or evensong::http=debug"
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log that cannot be written is lost, and nothing else: to complain of it on the same
        // standard error would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // A second subscriber in one process (tests) is not an error worth stopping for.
    if std::io::stderr().is_terminal() {
        let _ = builder.with_target(false).try_init();
    } else if builder.json().flatten_event(true).try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// What a panic says: its words, its place and, where `RUST_BACKTRACE` asks for it, how it came there.
fn log_panic(panic: &std::panic::PanicHookInfo) {
    let said = panic.payload_as_str().unwrap_or("something that is no text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let trace = std::backtrace::Backtrace::capture();
    match trace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(said, place, thread, %trace, "panic");
        }
        _ => tracing::error!(said, place, thread, "panic"),
    }
}
