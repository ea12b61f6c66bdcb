//! Memory that is asked for before it is read. Processors fetch ahead by themselves where a loop does little else; where it
//! works on what it reads, they wait for most of it.

/// How far ahead: some hundred nanoseconds at the rate of memory, and a small part of the nearest cache.
const AHEAD: usize = 4096;

/// Asks for `bytes` bytes that lie `AHEAD` behind `place`. Any address will do.
#[inline(always)]
pub fn ahead(place: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::*;
        // SAFETY: a hint, which reads nothing that the program sees and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD + line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (place, bytes);
}
