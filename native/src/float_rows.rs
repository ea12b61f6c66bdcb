//! Rows of floats, of 16 or 32 bits as they lie in memory, times few rows of f32: each row is read once and widened in
//! registers. The sums of an output do not depend on how many rows there are.

use crate::fault::Result;
use crate::half_steps::from_half;
use crate::parallel::{self, Shared};
use crate::simd;
use std::ops::Range;

/// How rows are written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    F32,
    F16,
    BF16,
}

impl Written {
    pub fn bytes(self) -> usize {
        if self == Written::F32 { 4 } else { 2 }
    }
}

/// Whether this machine widens in registers.
pub fn has_kernel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        simd::level() >= simd::Level::Avx2 && is_x86_feature_detected!("f16c")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Bytes of rows that one task reads, at least.
pub const TASK_BYTES: usize = 1 << 14;
/// A thread reads on where it is for as long as it can: at every jump the processor finds out anew what to fetch ahead.
pub const TASKS_OF_A_THREAD: usize = 4;

/// Calls `each` for every four inputs, and for those that are left one by one, with the outputs from `start` on of each:
/// `out` is [inputs, rows].
///
/// # Safety
/// `out` has room, and these `count` outputs of each input belong to the caller alone.
pub unsafe fn in_fours(
    (out, rows): (*mut f32, usize),
    inputs: usize,
    (start, count): (usize, usize),
    mut each: impl FnMut(Range<usize>, &mut [&mut [f32]]),
) {
    let mut first = 0;
    while first < inputs {
        let group = if inputs - first >= 4 { 4 } else { 1 };
        let mut lines: [&mut [f32]; 4] = Default::default();
        for (m, line) in lines.iter_mut().enumerate().take(group) {
            // SAFETY: as the caller vouches.
            *line = unsafe { std::slice::from_raw_parts_mut(out.add((first + m) * rows + start), count) };
        }
        each(first..first + group, &mut lines[..group]);
        first += group;
    }
}

/// out [inputs, n] = inputs times rows [n, columns].
pub fn multiply(
    (written, rows): (Written, &[u8]),
    columns: usize,
    inputs: &[&[f32]],
    out: &mut [f32],
) -> Result<()> {
    let row_bytes = columns * written.bytes();
    let n = rows.len() / row_bytes;
    in_tasks((n, row_bytes), inputs.len(), out, |start, which, lines| {
        let own = &rows[start * row_bytes..(start + lines[0].len()) * row_bytes];
        multiply_rows(written, own, columns, &inputs[which], lines);
    })
}

/// Calls `each(start, inputs, outputs)` for every four inputs and those that are left, and for rows of a weight from `start` on, as
/// many as each of the outputs is long: in tasks, of which a thread reads on where it is. `out` is [inputs, rows].
pub fn in_tasks(
    (rows, row_bytes): (usize, usize),
    inputs: usize,
    out: &mut [f32],
    each: impl Fn(usize, Range<usize>, &mut [&mut [f32]]) + Send + Sync,
) -> Result<()> {
    assert!(out.len() >= inputs * rows, "a place for each output");
    let count = rows
        .div_ceil(TASKS_OF_A_THREAD * parallel::threads()?)
        .max(TASK_BYTES.div_ceil(row_bytes.max(1)));
    let target = Shared(out.as_mut_ptr());
    parallel::tasks(rows.div_ceil(count), |task| {
        let start = task * count;
        let count = count.min(rows - start);
        // SAFETY: the outputs were looked at, and these belong to this task alone.
        unsafe {
            in_fours((target.get(), rows), inputs, (start, count), |which, lines| {
                each(start, which, lines);
            });
        }
    })
}

/// out[m][i] = row i of `rows`, of `columns` numbers, times `inputs[m]`: one input or four.
pub fn multiply_rows(
    written: Written,
    rows: &[u8],
    columns: usize,
    inputs: &[&[f32]],
    out: &mut [&mut [f32]],
) {
    assert!(
        inputs.iter().all(|x| x.len() >= columns),
        "inputs are as long as rows"
    );
    assert!(inputs.len() <= out.len(), "an output for each input");
    #[cfg(target_arch = "x86_64")]
    if has_kernel() {
        // SAFETY: the processor has the instructions, and lengths were looked at.
        return unsafe {
            match written {
                Written::F32 => avx2::all::<avx2::Single>(rows, columns, inputs, out),
                Written::F16 => avx2::all::<avx2::Half>(rows, columns, inputs, out),
                Written::BF16 => avx2::all::<avx2::Brain>(rows, columns, inputs, out),
            }
        };
    }
    for (at, row) in rows.chunks_exact(columns * written.bytes()).enumerate() {
        for (x, out) in inputs.iter().zip(out.iter_mut()) {
            out[at] = plain(written, row, x);
        }
    }
}

fn plain(written: Written, row: &[u8], x: &[f32]) -> f32 {
    match written {
        Written::F32 => dot(row, x, |bytes| f32::from_le_bytes(*bytes)),
        Written::F16 => dot(row, x, |bytes| from_half(u16::from_le_bytes(*bytes))),
        Written::BF16 => dot(row, x, |bytes| from_brain(u16::from_le_bytes(*bytes))),
    }
}

/// Bits of bf16 as a number.
#[inline(always)]
pub fn from_brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[inline(always)]
fn dot<const BYTES: usize>(row: &[u8], x: &[f32], number: impl Fn(&[u8; BYTES]) -> f32) -> f32 {
    const LANES: usize = 8;
    let (eights, rest) = row.as_chunks::<BYTES>().0.as_chunks::<LANES>();
    let (x, rest_x) = x.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (eight, x) in eights.iter().zip(x) {
        for lane in 0..LANES {
            sums[lane] += number(&eight[lane]) * x[lane];
        }
    }
    // Inputs may be longer than rows.
    let rest_x = x[eights.len()..].as_flattened().iter().chain(rest_x);
    let left: f32 = rest.iter().zip(rest_x).map(|(bytes, x)| number(bytes) * x).sum();
    sums.iter().sum::<f32>() + left
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use crate::prefetch;
    use crate::register_sums::add_up_eight;
    use std::arch::x86_64::*;

    /// Eight numbers from a place on as f32.
    pub(super) trait Widen {
        const BYTES: usize;
        /// # Safety
        /// AVX2 and F16C are there, and eight numbers can be read.
        unsafe fn eight(place: *const u8) -> __m256;
        /// # Safety
        /// A number can be read.
        unsafe fn one(place: *const u8) -> f32;
    }

    macro_rules! widen {
        ($name:ident, $bytes:literal, |$place:ident| $eight:expr, $one:expr) => {
            pub(super) struct $name;
            impl Widen for $name {
                const BYTES: usize = $bytes;
                #[inline(always)]
                unsafe fn eight($place: *const u8) -> __m256 {
                    // SAFETY: the caller vouches for instructions and bytes.
                    unsafe { $eight }
                }
                #[inline(always)]
                unsafe fn one($place: *const u8) -> f32 {
                    // SAFETY: as above.
                    unsafe { $one }
                }
            }
        };
    }

    widen!(
        Single,
        4,
        |place| _mm256_loadu_ps(place.cast()),
        place.cast::<f32>().read_unaligned()
    );
    widen!(
        Half,
        2,
        |place| _mm256_cvtph_ps(_mm_loadu_si128(place.cast())),
        crate::half_steps::from_half(place.cast::<u16>().read_unaligned())
    );
    widen!(
        Brain,
        2,
        |place| {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(place.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
        },
        super::from_brain(place.cast::<u16>().read_unaligned())
    );

    /// # Safety
    /// AVX2, FMA and F16C are there; inputs are as long as rows, outputs as there are rows.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn all<W: Widen>(
        rows: &[u8],
        columns: usize,
        inputs: &[&[f32]],
        out: &mut [&mut [f32]],
    ) {
        for (at, row) in rows.chunks_exact(columns * W::BYTES).enumerate() {
            // SAFETY: as the caller vouches.
            unsafe {
                if let [a, b, c, d] = *inputs {
                    let sums = dots::<W, 4>(
                        row.as_ptr(),
                        columns,
                        [a.as_ptr(), b.as_ptr(), c.as_ptr(), d.as_ptr()],
                    );
                    for m in 0..4 {
                        out[m][at] = sums[m];
                    }
                } else {
                    for m in 0..inputs.len() {
                        out[m][at] = dots::<W, 1>(row.as_ptr(), columns, [inputs[m].as_ptr()])[0];
                    }
                }
            }
        }
    }

    /// Sums that go side by side, since one waits for the one before.
    const SUMS: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dots<W: Widen, const M: usize>(
        row: *const u8,
        columns: usize,
        inputs: [*const f32; M],
    ) -> [f32; M] {
        let mut sums = [[_mm256_setzero_ps(); SUMS]; M];
        let whole = columns / 8 * 8;
        let unrolled = columns / (8 * SUMS) * (8 * SUMS);
        let mut out = [0.0; M];
        // SAFETY: the caller vouches for instructions and lengths.
        unsafe {
            for place in (0..unrolled).step_by(8 * SUMS) {
                prefetch::ahead(row.add(place * W::BYTES), 8 * SUMS * W::BYTES);
                for sum in 0..SUMS {
                    let place = place + 8 * sum;
                    let numbers = W::eight(row.add(place * W::BYTES));
                    for m in 0..M {
                        let x = _mm256_loadu_ps(inputs[m].add(place));
                        sums[m][sum] = _mm256_fmadd_ps(numbers, x, sums[m][sum]);
                    }
                }
            }
            for place in (unrolled..whole).step_by(8) {
                let numbers = W::eight(row.add(place * W::BYTES));
                for m in 0..M {
                    sums[m][0] = _mm256_fmadd_ps(numbers, _mm256_loadu_ps(inputs[m].add(place)), sums[m][0]);
                }
            }
            for m in 0..M {
                let all = _mm256_add_ps(
                    _mm256_add_ps(sums[m][0], sums[m][1]),
                    _mm256_add_ps(sums[m][2], sums[m][3]),
                );
                out[m] = add_up_eight(all);
                for place in whole..columns {
                    out[m] += W::one(row.add(place * W::BYTES)) * *inputs[m].add(place);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_numbers_however_many_inputs_there_are() {
        for (written, rows, columns) in [
            (Written::F32, 3, 1),
            (Written::F32, 5, 77),
            (Written::F16, 4, 96),
            (Written::F16, 2, 7),
            (Written::BF16, 3, 131),
        ] {
            let value = |i: usize| ((i * 7919 + 13) % 257) as f32 / 64.0 - 2.0;
            let mut bytes = Vec::new();
            for i in 0..rows * columns {
                match written {
                    Written::F32 => bytes.extend(value(i).to_le_bytes()),
                    Written::F16 => bytes.extend(half::f16::from_f32(value(i)).to_le_bytes()),
                    Written::BF16 => bytes.extend(half::bf16::from_f32(value(i)).to_le_bytes()),
                }
            }
            // Numbers that all types hold, but for the last bits of bf16.
            let stored = |i: usize| match written {
                Written::BF16 => half::bf16::from_f32(value(i)).to_f64(),
                _ => f64::from(value(i)),
            };
            let inputs: Vec<Vec<f32>> = (0..4)
                .map(|m| {
                    (0..columns)
                        .map(|i| ((i * 31 + m * 17) % 101) as f32 / 50.0 - 1.0)
                        .collect()
                })
                .collect();
            let x: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            let mut together = vec![vec![f32::NAN; rows]; 4];
            let mut lines: Vec<&mut [f32]> = together.iter_mut().map(Vec::as_mut_slice).collect();
            multiply_rows(written, &bytes, columns, &x, &mut lines);
            for m in 0..4 {
                let mut alone = vec![f32::NAN; rows];
                multiply_rows(written, &bytes, columns, &x[m..=m], &mut [&mut alone]);
                assert_eq!(alone, together[m]);
                for i in 0..rows {
                    let want: f64 = (0..columns)
                        .map(|c| stored(i * columns + c) * f64::from(inputs[m][c]))
                        .sum();
                    assert!(
                        (f64::from(alone[i]) - want).abs() < 1e-5 * columns as f64,
                        "{written:?} {i}"
                    );
                }
            }
        }
    }
}
