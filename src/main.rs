//! The binary: the allocator and its settings, and the exit code. Everything else is in the library.

/// Pages that were freed go back to the system after a second, by a thread of the allocator's own;
/// its defaults would keep the peak for ever. Profiling is ready, sampling every 512 KiB.
#[allow(unsafe_code, non_upper_case_globals, missing_docs)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,\
                                  prof:true,prof_active:true,lg_prof_sample:19\0";

#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    evensong::cli::run(std::env::args_os())
}
