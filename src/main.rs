//! The binary: the allocator and its settings, and the exit code. Everything else is in the library.

// Unprefixed where that can be, so that what C allocates (LAME) goes back as well.
/// Pages that were freed go back to the system after a second, by a thread of the allocator's own;
/// its defaults would keep the peak for ever. Large zeroed blocks are left untouched, as LAME has two
/// in each encoder that it never uses. Profiling is ready, sampling every 512 KiB.
#[allow(unsafe_code, non_upper_case_globals, missing_docs)]
#[unsafe(export_name = "malloc_conf")]
pub static malloc_conf: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,\
                                  calloc_madvise_threshold:65536,prof:true,prof_active:true,lg_prof_sample:19\0";

#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    evensong::cli::run(std::env::args_os())
}
