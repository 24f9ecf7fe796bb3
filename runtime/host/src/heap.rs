//! Memory that was freed, and that the allocator still has.

/// Lets the allocator give freed memory back to the system soon, for programs that open one large model after another. GNU's keeps as much as the
/// largest piece that it ever freed, for each of its heaps, of which threads have several; with fixed bounds it keeps a mebibyte. Others need no
/// telling.
pub fn give_freed_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        const TRIM_THRESHOLD: c_int = -1;
        const MMAP_THRESHOLD: c_int = -3;
        for parameter in [TRIM_THRESHOLD, MMAP_THRESHOLD] {
            // SAFETY: this is how glibc declares it, and these are its parameters (mallopt(3)); any thread may set them at any time.
            unsafe { mallopt(parameter, 1 << 20) };
        }
    }
}
