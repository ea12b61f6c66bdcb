//! How kernels walk a stream.

use super::{Masked, PAST};
use std::arch::x86_64::*;

/// A place in a stream that is never past its last chunk.
pub(super) struct Reader {
    pub at: *const u8,
    last: *const u8,
}

impl Reader {
    /// At the first chunk of a row.
    pub fn new(weight: &Masked, row: usize) -> Reader {
        let last = weight
            .stream
            .len()
            .checked_sub(PAST)
            .expect("zeros follow the last row");
        let start = (weight.starts[row] as usize).min(last);
        Reader {
            at: weight.stream[start..].as_ptr(),
            last: weight.stream[last..].as_ptr(),
        }
    }

    /// Of the next chunk.
    ///
    /// # Safety
    /// `at` was moved over the chunk before and no further.
    #[inline(always)]
    pub unsafe fn marks(&mut self) -> u64 {
        assert!(self.at < self.last, "a stream ends with its last row");
        // SAFETY: a whole chunk and more follow each place before the last.
        unsafe {
            let marks = self.at.cast::<u64>().read_unaligned();
            self.at = self.at.add(8);
            marks
        }
    }

    /// Step and zero of a group.
    ///
    /// # Safety
    /// The processor has F16C, and `at` is behind the marks of a chunk where groups begin.
    #[inline]
    #[target_feature(enable = "avx,f16c")]
    pub unsafe fn head(&mut self, wide: bool) -> (f32, f32) {
        // SAFETY: `PAST` bytes follow the last chunk.
        unsafe {
            if wide {
                let step = self.at.cast::<f32>().read_unaligned();
                let zero = self.at.add(4).cast::<f32>().read_unaligned();
                self.at = self.at.add(8);
                return (step, zero);
            }
            let both = self.at.cast::<i32>().read_unaligned();
            self.at = self.at.add(4);
            let pair = _mm_cvtph_ps(_mm_cvtsi32_si128(both));
            (_mm_cvtss_f32(pair), _mm_cvtss_f32(_mm_movehdup_ps(pair)))
        }
    }

    /// Of the first 32 columns of a chunk and of the others: those that begin here, or those of the group that goes on.
    ///
    /// # Safety
    /// As `head`.
    #[inline]
    #[target_feature(enable = "avx,f16c")]
    pub unsafe fn heads(&mut self, weight: &Masked, wide: bool, chunk: usize, heads: &mut [(f32, f32); 2]) {
        let begun = weight.numbers.heads(chunk);
        for head in heads.iter_mut().take(begun) {
            // SAFETY: as the caller vouches.
            *head = unsafe { self.head(wide) };
        }
        if begun == 1 {
            heads[1] = heads[0];
        }
    }
}
