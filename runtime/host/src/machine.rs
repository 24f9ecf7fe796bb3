//! stub
pub(crate) fn total_memory() -> Option<u64> {
    None
}
