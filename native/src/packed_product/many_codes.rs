//! Many rows of inputs in 8 bits: 16 rows of the weight lie side by side as lanes, four columns in each, so that products
//! add up in integers over a part and meet their step once.
//!
//!   y[m, i] = sum over parts p of step_ip * scale_mp * (sum of (code - zero) * x in whole numbers) - offsets

use super::inputs::{PART, Row};
use super::types::{Fields as _, Unpack};
use crate::fault::Result;
use crate::parallel::{self, Shared};
use std::arch::x86_64::*;

/// Rows of the weight that are lanes.
const LANES: usize = 16;
/// Rows of inputs that meet a part of the weight while it is in registers.
const TILE: usize = 8;
/// Groups of lanes that a task takes.
const GROUPS: usize = 4;

/// Some rows of a weight: codes [parts, 8, lanes, 4], steps [parts, halves, lanes], offsets [sums, lanes].
#[derive(Default)]
struct Side {
    codes: Vec<u8>,
    steps: Vec<f32>,
    offsets: Vec<f32>,
}

/// Whether a part has a step for each half.
const fn halves<T: Unpack>() -> usize {
    if T::HALVES { 2 } else { 1 }
}

/// out [m, rows], every row of inputs of whole parts.
pub(super) fn multiply<T: Unpack>(
    (bytes, row_bytes, run): (&[u8], usize, usize),
    rows: usize,
    inputs: &[Row],
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<()> {
    let target = Shared(out.as_mut_ptr());
    parallel::tasks(rows.div_ceil(LANES * GROUPS), |task| {
        let mut side = Side::default();
        let first = task * LANES * GROUPS;
        for start in (first..(first + LANES * GROUPS).min(rows)).step_by(LANES) {
            let count = LANES.min(rows - start);
            let own = &bytes[start * row_bytes..(start + count) * row_bytes];
            // SAFETY: `multiply` is called where the instructions are there.
            unsafe { lay_out::<T>(own, row_bytes, run, &mut side) };
            let mut shift = [0.0; LANES];
            if let Some(bias) = bias {
                shift[..count].copy_from_slice(&bias[start..start + count]);
            }
            let mut m = 0;
            while m < inputs.len() {
                // SAFETY: as above; these outputs belong to this task alone.
                unsafe {
                    let place = target.get().add(m * rows + start);
                    if inputs.len() - m >= TILE {
                        tile::<T, TILE>(&side, &inputs[m..], &shift, (place, rows, count));
                        m += TILE;
                    } else {
                        tile::<T, 1>(&side, &inputs[m..], &shift, (place, rows, count));
                        m += 1;
                    }
                }
            }
        }
    })
}

/// Lanes past the last row stay 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,f16c,fma")]
unsafe fn lay_out<T: Unpack>(bytes: &[u8], row_bytes: usize, run: usize, side: &mut Side) {
    let (count, size) = (T::parts(run), T::bytes(run));
    let blocks = row_bytes / size;
    let parts = blocks * count;
    let each = offsets_of_block::<T>();
    side.codes.clear();
    side.codes.resize(parts * PART * LANES, 0);
    side.steps.clear();
    side.steps.resize(parts * halves::<T>() * LANES, 0.0);
    side.offsets.clear();
    side.offsets
        .resize(if T::OFFSETS { blocks * each * LANES } else { 0 }, 0.0);
    for (lane, row) in bytes.chunks_exact(row_bytes).enumerate() {
        for (block, own) in row.chunks_exact(size).enumerate() {
            // SAFETY: the caller vouches for the features.
            let fields = unsafe { T::fields(own) };
            for part in 0..count {
                let place = block * count + part;
                let mut codes = [0u32; 8];
                // SAFETY: 32 bytes are written.
                unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), T::codes(own, part)) };
                let target = &mut side.codes[place * PART * LANES..][..PART * LANES];
                for (four, code) in codes.iter().enumerate() {
                    target[(four * LANES + lane) * 4..][..4].copy_from_slice(&code.to_le_bytes());
                }
                for half in 0..halves::<T>() {
                    side.steps[(place * halves::<T>() + half) * LANES + lane] = fields.step(part, half);
                }
            }
            if T::OFFSETS {
                for i in 0..each {
                    // SAFETY: blocks have as many offsets.
                    side.offsets[(block * each + i) * LANES + lane] = unsafe { *fields.offsets().add(i) };
                }
            }
        }
    }
}

const fn offsets_of_block<T: Unpack>() -> usize {
    if T::SINGLE {
        1
    } else if T::HALVES {
        16
    } else {
        8
    }
}

/// M rows of inputs; `out` is where the first stands, how far the next one is, and how many lanes count.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
unsafe fn tile<T: Unpack, const M: usize>(
    side: &Side,
    inputs: &[Row],
    shift: &[f32; LANES],
    (out, stride, count): (*mut f32, usize, usize),
) {
    let parts = side.codes.len() / (PART * LANES);
    let mut sums = [_mm512_setzero_ps(); M];
    // SAFETY: all pointers stay inside of the rows and of the side.
    unsafe {
        for part in 0..parts {
            let codes = side.codes.as_ptr().add(part * PART * LANES);
            for half in 0..halves::<T>() {
                let fours = 8 / halves::<T>();
                let mut whole = [_mm512_setzero_si512(); M];
                for m in 0..M {
                    let starts = inputs[m].half_starts.as_ptr().add(2 * part);
                    let start = match (T::ZERO, T::HALVES) {
                        (0, _) => 0,
                        (_, true) => *starts.add(half),
                        (_, false) => *starts + *starts.add(1),
                    };
                    whole[m] = _mm512_set1_epi32(start);
                }
                for four in half * fours..(half + 1) * fours {
                    let w = _mm512_loadu_si512(codes.add(four * LANES * 4).cast());
                    for m in 0..M {
                        let x = inputs[m]
                            .codes
                            .as_ptr()
                            .add(part * PART + 4 * four)
                            .cast::<i32>()
                            .read_unaligned();
                        whole[m] = _mm512_dpbusd_epi32(whole[m], w, _mm512_set1_epi32(x));
                    }
                }
                let step = _mm512_loadu_ps(side.steps.as_ptr().add((part * halves::<T>() + half) * LANES));
                for m in 0..M {
                    let scale = _mm512_set1_ps(*inputs[m].scales.as_ptr().add(part));
                    let scaled = _mm512_mul_ps(step, scale);
                    sums[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[m]), scaled, sums[m]);
                }
            }
        }
        if T::OFFSETS {
            let terms = side.offsets.len() / LANES;
            for term in 0..terms {
                let offset = _mm512_loadu_ps(side.offsets.as_ptr().add(term * LANES));
                for m in 0..M {
                    let sum = _mm512_set1_ps(*inputs[m].sums.as_ptr().add(term));
                    sums[m] = _mm512_fnmadd_ps(offset, sum, sums[m]);
                }
            }
        }
        let shift = _mm512_loadu_ps(shift.as_ptr());
        let mask = if count == LANES {
            u16::MAX
        } else {
            (1 << count) - 1
        };
        for m in 0..M {
            _mm512_mask_storeu_ps(out.add(m * stride), mask, _mm512_add_ps(sums[m], shift));
        }
    }
}
