//! What memory itself can do, for figures of decoding to stand beside: reads and writes in a proportion, and no more
//! arithmetic than it takes to read.

use crate::arena::view;
use crate::fault::{border, js};
use crate::parallel;
use crate::simd;
use napi_derive::napi;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers that are written behind each piece that is read; those of one task are 32 times as many.
const PIECE: usize = 2048;

simd! {
    fn folded(bytes: &[u8]) -> u64 {
        bytes
            .as_chunks::<8>()
            .0
            .iter()
            .fold(0, |all, word| all ^ u64::from_le_bytes(*word))
    }
}

simd! {
    fn fill(out: &mut [f32]) {
        out.fill(1.0)
    }
}

/// Writes with stores that do not read their line first, and ends behind all of them.
#[cfg(target_arch = "x86_64")]
fn fill_past_caches(out: &mut [f32]) {
    use std::arch::x86_64::{__m128, _mm_set1_ps, _mm_sfence, _mm_stream_ps};
    // SAFETY: every bit pattern is a value of either type.
    let (before, lines, after) = unsafe { out.align_to_mut::<__m128>() };
    before.fill(1.0);
    after.fill(1.0);
    // SAFETY: each line has 16 bytes and is aligned to them.
    unsafe {
        for line in lines {
            _mm_stream_ps(std::ptr::from_mut(line).cast(), _mm_set1_ps(1.0));
        }
        _mm_sfence();
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fill_past_caches(out: &mut [f32]) {
    fill(out);
}

/// Reads all bytes of `source` while it fills the f32 tensor `target` with ones, through the caches or past them. Returns
/// a number that depends on all that was read.
#[napi]
pub fn stream_memory(source: u32, target: u32, past_caches: bool) -> js::Result<u32> {
    border(|| {
        let (source, target) = (view(source)?, view(target)?);
        let (bytes, out) = (source.bytes()?, target.slice_mut::<f32>()?);
        let length = out.len().max(1) as u128;
        let place = |number: usize| (number as u128 * bytes.len() as u128 / length) as usize;
        let seen = AtomicU64::new(0);
        parallel::chunks(out, 32 * PIECE, |start, out| {
            for (index, out) in out.chunks_mut(PIECE).enumerate() {
                let start = start + index * PIECE;
                seen.fetch_xor(folded(&bytes[place(start)..place(start + out.len())]), Relaxed);
                if past_caches {
                    fill_past_caches(out);
                } else {
                    fill(out);
                }
            }
        })?;
        let seen = seen.into_inner();
        Ok((seen ^ seen >> 32) as u32)
    })
}
