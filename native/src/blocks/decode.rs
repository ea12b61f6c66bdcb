//! Fast decoding. The loops are plain so that the compiler vectorises them for every instruction set; all round
//! every operation alike, so the set does not show in the result.

use super::layout::{half_at, scale_and_min, scale_of_q3};
use super::{BlockType, BlockType::*, NON_LINEAR_LEVELS};
use crate::simd;
use half::{f16, slice::HalfFloatSliceExt};

pub(super) fn decode(block_type: BlockType, bytes: &[u8], out: &mut [f32]) {
    let blocks = bytes.len() / block_type.block_bytes();
    assert_eq!(bytes.len(), blocks * block_type.block_bytes(), "whole blocks");
    assert_eq!(
        out.len(),
        blocks * block_type.block_len(),
        "a value for each element"
    );
    #[cfg(target_arch = "x86_64")]
    if simd::level() >= simd::Level::Avx2 && is_x86_feature_detected!("f16c") {
        // SAFETY: this machine has the features.
        if unsafe { super::vectors::decode(block_type, bytes, out) } {
            return;
        }
    }
    decode_blocks(block_type, bytes, out)
}

simd! {
    fn decode_blocks(block_type: BlockType, bytes: &[u8], out: &mut [f32]) {
        decode_all(block_type, bytes, out)
    }
}

/// The loops themselves; called directly they are those of the oldest processors.
#[inline(always)]
pub(super) fn decode_all(block_type: BlockType, bytes: &[u8], out: &mut [f32]) {
    match block_type {
        F32 => each(bytes, out, f32_value),
        F16 => decode_halves(bytes, out),
        BF16 => each(bytes, out, bf16),
        Q8_0 => each(bytes, out, q8_0),
        Q4_0 => each(bytes, out, q4_0),
        IQ4_NL => each(bytes, out, iq4_nl),
        Q4_1 => each(bytes, out, q4_1),
        Q5_0 => each(bytes, out, q5_0),
        Q5_1 => each(bytes, out, q5_1),
        Q2_K => each(bytes, out, q2_k),
        Q3_K => each(bytes, out, q3_k),
        Q4_K => each(bytes, out, q4_k),
        Q5_K => each(bytes, out, q5_k),
        Q6_K => each(bytes, out, q6_k),
    }
}

/// Runs `decode` on every block and its values.
#[inline(always)]
fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, out) in bytes
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<LEN>().0)
    {
        decode(block, out);
    }
}

/// In parts that stay in the cache, since the bytes of a file need not be aligned to halves.
#[inline(always)]
fn decode_halves(bytes: &[u8], out: &mut [f32]) {
    const PART: usize = 1024;
    let mut halves = [f16::ZERO; PART];
    for (bytes, out) in bytes.chunks(2 * PART).zip(out.chunks_mut(PART)) {
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}

#[inline(always)]
fn f32_value(b: &[u8; 4], out: &mut [f32; 1]) {
    out[0] = f32::from_le_bytes(*b);
}

#[inline(always)]
fn bf16(b: &[u8; 2], out: &mut [f32; 1]) {
    out[0] = f32::from_bits((u16::from_le_bytes(*b) as u32) << 16)
}

#[inline(always)]
fn q8_0(b: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for i in 0..32 {
        out[i] = d * (b[2 + i] as i8) as f32;
    }
}

#[inline(always)]
fn q4_0(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for i in 0..16 {
        out[i] = d * ((b[2 + i] & 15) as i32 - 8) as f32;
        out[i + 16] = d * ((b[2 + i] >> 4) as i32 - 8) as f32;
    }
}

#[inline(always)]
fn iq4_nl(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    let values = NON_LINEAR_LEVELS.map(|level| d * level as f32);
    for i in 0..16 {
        out[i] = values[(b[2 + i] & 15) as usize];
        out[i + 16] = values[(b[2 + i] >> 4) as usize];
    }
}

#[inline(always)]
fn q4_1(b: &[u8; 20], out: &mut [f32; 32]) {
    let (d, offset) = (half_at(b, 0), -half_at(b, 2));
    for i in 0..16 {
        out[i] = d * (b[4 + i] & 15) as f32 - offset;
        out[i + 16] = d * (b[4 + i] >> 4) as f32 - offset;
    }
}

#[inline(always)]
fn q5_0(b: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    let high = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
    for i in 0..16 {
        out[i] = d * (fifth_bit(b[6 + i] & 15, high, i) - 16) as f32;
        out[i + 16] = d * (fifth_bit(b[6 + i] >> 4, high, i + 16) - 16) as f32;
    }
}

#[inline(always)]
fn q5_1(b: &[u8; 24], out: &mut [f32; 32]) {
    let (d, offset) = (half_at(b, 0), -half_at(b, 2));
    let high = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
    for i in 0..16 {
        out[i] = d * fifth_bit(b[8 + i] & 15, high, i) as f32 - offset;
        out[i + 16] = d * fifth_bit(b[8 + i] >> 4, high, i + 16) as f32 - offset;
    }
}

#[inline(always)]
fn q2_k(b: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 80), half_at(b, 82));
    for (k, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (step, offset) = (d * (b[k] & 15) as f32, dmin * (b[k] >> 4) as f32);
        let (low, shift) = (&b[16 + two_bit_start(k)..], two_bit_shift(k));
        let low: &[u8; 16] = low.first_chunk().expect("16 bytes inside the block");
        for i in 0..16 {
            out[i] = step * (low[i] >> shift & 3) as f32 - offset;
        }
    }
}

#[inline(always)]
fn q3_k(b: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(b, 108);
    for (k, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let step = d * scale_of_q3(&b[96..108], k) as f32;
        let (start, shift) = (two_bit_start(k), two_bit_shift(k));
        let low: &[u8; 16] = b[32 + start..].first_chunk().expect("16 bytes inside the block");
        let high: &[u8; 16] = b[start % 32..].first_chunk().expect("16 bytes inside the block");
        for i in 0..16 {
            let code = low[i] >> shift & 3 | (high[i] >> (k / 2) & 1) << 2;
            out[i] = step * (code as i32 - 4) as f32;
        }
    }
}

#[inline(always)]
fn q4_k(b: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for (run, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let [low, high] = [2 * run, 2 * run + 1].map(|k| step_and_offset(d, dmin, &b[4..16], k));
        let nibbles: &[u8; 32] = b[16 + 32 * run..]
            .first_chunk()
            .expect("32 bytes inside the block");
        for i in 0..32 {
            out[i] = low.0 * (nibbles[i] & 15) as f32 - low.1;
            out[i + 32] = high.0 * (nibbles[i] >> 4) as f32 - high.1;
        }
    }
}

#[inline(always)]
fn q5_k(b: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    let fifth: &[u8; 32] = b[16..].first_chunk().expect("32 bytes inside the block");
    for (run, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let [low, high] = [2 * run, 2 * run + 1].map(|k| step_and_offset(d, dmin, &b[4..16], k));
        let nibbles: &[u8; 32] = b[48 + 32 * run..]
            .first_chunk()
            .expect("32 bytes inside the block");
        for i in 0..32 {
            let bits = fifth[i] >> (2 * run);
            out[i] = low.0 * (nibbles[i] & 15 | (bits & 1) << 4) as f32 - low.1;
            out[i + 32] = high.0 * (nibbles[i] >> 4 | (bits >> 1 & 1) << 4) as f32 - high.1;
        }
    }
}

#[inline(always)]
fn q6_k(b: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(b, 208);
    for (k, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let step = d * (b[192 + k] as i8) as f32;
        let (run, r, l) = (k / 8, k % 8 / 2, k % 2 * 16);
        let low: &[u8; 16] = b[64 * run + l + 32 * (r & 1)..]
            .first_chunk()
            .expect("16 bytes inside the block");
        let high: &[u8; 16] = b[128 + 32 * run + l..]
            .first_chunk()
            .expect("16 bytes inside the block");
        for i in 0..16 {
            let code = low[i] >> (4 * (r >> 1)) & 15 | (high[i] >> (2 * r) & 3) << 4;
            out[i] = step * (code as i32 - 32) as f32;
        }
    }
}

#[inline(always)]
fn fifth_bit(nibble: u8, high: u32, i: usize) -> i32 {
    nibble as i32 | ((high >> i & 1) as i32) << 4
}

#[inline(always)]
fn step_and_offset(d: f32, dmin: f32, field: &[u8], k: usize) -> (f32, f32) {
    let (scale, min) = scale_and_min(field, k);
    (d * scale as f32, dmin * min as f32)
}

/// First byte, among those with two bits a code, of sub-block `k` of 16.
#[inline(always)]
fn two_bit_start(k: usize) -> usize {
    k / 8 * 32 + k % 2 * 16
}

#[inline(always)]
fn two_bit_shift(k: usize) -> usize {
    k % 8 / 2 * 2
}
