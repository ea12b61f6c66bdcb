//! Where the bits of codes, scales and mins stand in a block.

use super::{BlockParameters, BlockType, BlockType::*};
use half::f16;

/// The f16 at byte `at`, without a call: blocks of 32 elements have few instructions beside it.
#[inline(always)]
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f32 {
    let half = u16::from_le_bytes([bytes[at], bytes[at + 1]]) as u32;
    // Exponents differ by 112; of infinities and NaN all bits are set.
    let above = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    let magnitude = f32::from_bits((half & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | above | (half & 0x8000) << 16)
}

fn put_half(out: &mut [u8], at: usize, value: f32) {
    out[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Positions of d and of dmin (of m in Q4_1 and Q5_1).
pub(super) fn half_positions(block_type: BlockType) -> (usize, Option<usize>) {
    match block_type {
        Q4_1 | Q5_1 | Q4_K | Q5_K => (0, Some(2)),
        Q2_K => (80, Some(82)),
        Q3_K => (108, None),
        Q6_K => (208, None),
        _ => (0, None),
    }
}

/// The 6-bit scale and min of sub-block `k` in the 12 bytes of Q4_K and Q5_K.
#[inline(always)]
pub(super) fn scale_and_min(bytes: &[u8], k: usize) -> (u8, u8) {
    if k < 4 {
        (bytes[k] & 63, bytes[k + 4] & 63)
    } else {
        (
            bytes[k + 4] & 15 | (bytes[k - 4] >> 6) << 4,
            bytes[k + 4] >> 4 | (bytes[k] >> 6) << 4,
        )
    }
}

/// The scale of sub-block `k` in the 12 bytes of Q3_K.
#[inline(always)]
pub(super) fn scale_of_q3(bytes: &[u8], k: usize) -> i32 {
    let low = if k < 8 { bytes[k] & 15 } else { bytes[k - 8] >> 4 };
    let high = bytes[8 + k % 4] >> (2 * (k / 4)) & 3;
    (low | high << 4) as i32 - 32
}

pub(super) fn unpack(
    block_type: BlockType,
    bytes: &[u8],
    parameters: &mut BlockParameters,
    codes: &mut [u8],
) {
    assert!(block_type.is_coded(), "floats have no codes");
    let bytes = &bytes[..block_type.block_bytes()];
    let codes = &mut codes[..block_type.block_len()];
    let (d, dmin) = half_positions(block_type);
    *parameters = BlockParameters {
        d: half_at(bytes, d),
        dmin: dmin.map_or(0.0, |at| half_at(bytes, at)),
        ..BlockParameters::default()
    };
    unpack_scales(block_type, bytes, parameters);
    match block_type {
        Q8_0 => codes
            .iter_mut()
            .zip(&bytes[2..])
            .for_each(|(code, byte)| *code = byte ^ 128),
        Q4_0 | IQ4_NL => low_then_high(&bytes[2..18], codes),
        Q4_1 => low_then_high(&bytes[4..20], codes),
        Q5_0 | Q5_1 => {
            let high = if block_type == Q5_0 { 2 } else { 4 };
            low_then_high(&bytes[high + 4..high + 20], codes);
            for (i, code) in codes.iter_mut().enumerate() {
                *code |= (bytes[high + i / 8] >> (i % 8) & 1) << 4;
            }
        }
        Q2_K => two_bits(&bytes[16..80], codes),
        Q3_K => {
            two_bits(&bytes[32..96], codes);
            for (i, code) in codes.iter_mut().enumerate() {
                *code |= (bytes[i % 32] >> (i / 32) & 1) << 2;
            }
        }
        Q4_K => runs_of_nibbles(&bytes[16..144], codes),
        Q5_K => {
            runs_of_nibbles(&bytes[48..176], codes);
            for (i, code) in codes.iter_mut().enumerate() {
                *code |= (bytes[16 + i % 32] >> (i / 32) & 1) << 4;
            }
        }
        Q6_K => {
            for (i, code) in codes.iter_mut().enumerate() {
                let (run, r, l) = (i / 128, i % 128 / 32, i % 32);
                let low = bytes[64 * run + l + 32 * (r & 1)] >> (4 * (r >> 1)) & 15;
                let high = bytes[128 + 32 * run + l] >> (2 * r) & 3;
                *code = low | high << 4;
            }
        }
        F32 | F16 | BF16 => unreachable!(),
    }
}

fn unpack_scales(block_type: BlockType, bytes: &[u8], parameters: &mut BlockParameters) {
    let BlockParameters {
        dmin, scales, mins, ..
    } = parameters;
    match block_type {
        Q2_K => {
            for k in 0..16 {
                (scales[k], mins[k]) = ((bytes[k] & 15) as i32, (bytes[k] >> 4) as i32);
            }
        }
        Q3_K => (0..16).for_each(|k| scales[k] = scale_of_q3(&bytes[96..108], k)),
        Q4_K | Q5_K => {
            for k in 0..8 {
                let (scale, min) = scale_and_min(&bytes[4..16], k);
                (scales[k], mins[k]) = (scale as i32, min as i32);
            }
        }
        Q6_K => (0..16).for_each(|k| scales[k] = bytes[192 + k] as i8 as i32),
        Q4_1 | Q5_1 => {
            scales[0] = 1;
            mins[0] = 1;
            *dmin = -*dmin;
        }
        _ => scales[0] = 1,
    }
}

fn low_then_high(bytes: &[u8], codes: &mut [u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        codes[i] = byte & 15;
        codes[i + 16] = byte >> 4;
    }
}

/// Runs of 64 elements: 32 in the low halves of 32 bytes, 32 in the high ones.
fn runs_of_nibbles(bytes: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
        for (l, byte) in bytes.iter().enumerate() {
            codes[l] = byte & 15;
            codes[l + 32] = byte >> 4;
        }
    }
}

/// Runs of 128 elements in 32 bytes, two bits each.
fn two_bits(bytes: &[u8], codes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (l, byte) in bytes.iter().enumerate() {
            for j in 0..4 {
                codes[32 * j + l] = byte >> (2 * j) & 3;
            }
        }
    }
}

pub(super) fn pack(block_type: BlockType, parameters: &BlockParameters, codes: &[u8], out: &mut [u8]) {
    assert!(block_type.is_coded(), "floats have no codes");
    let out = &mut out[..block_type.block_bytes()];
    let codes = &codes[..block_type.block_len()];
    // Fields are OR-ed in below.
    out.fill(0);
    let (d, dmin) = half_positions(block_type);
    put_half(out, d, parameters.d);
    if let Some(at) = dmin {
        let additive = matches!(block_type, Q4_1 | Q5_1);
        put_half(
            out,
            at,
            if additive {
                -parameters.dmin
            } else {
                parameters.dmin
            },
        );
    }
    pack_scales(block_type, parameters, out);
    match block_type {
        Q8_0 => out[2..]
            .iter_mut()
            .zip(codes)
            .for_each(|(byte, code)| *byte = code ^ 128),
        Q4_0 | IQ4_NL => put_low_then_high(codes, &mut out[2..18]),
        Q4_1 => put_low_then_high(codes, &mut out[4..20]),
        Q5_0 | Q5_1 => {
            let high = if block_type == Q5_0 { 2 } else { 4 };
            put_low_then_high(codes, &mut out[high + 4..high + 20]);
            for (i, code) in codes.iter().enumerate() {
                out[high + i / 8] |= (code >> 4 & 1) << (i % 8);
            }
        }
        Q2_K => put_two_bits(codes, &mut out[16..80]),
        Q3_K => {
            put_two_bits(codes, &mut out[32..96]);
            for (i, code) in codes.iter().enumerate() {
                out[i % 32] |= (code >> 2 & 1) << (i / 32);
            }
        }
        Q4_K => put_runs_of_nibbles(codes, &mut out[16..144]),
        Q5_K => {
            put_runs_of_nibbles(codes, &mut out[48..176]);
            for (i, code) in codes.iter().enumerate() {
                out[16 + i % 32] |= (code >> 4 & 1) << (i / 32);
            }
        }
        Q6_K => {
            for (i, code) in codes.iter().enumerate() {
                let (run, r, l) = (i / 128, i % 128 / 32, i % 32);
                out[64 * run + l + 32 * (r & 1)] |= (code & 15) << (4 * (r >> 1));
                out[128 + 32 * run + l] |= (code >> 4 & 3) << (2 * r);
            }
        }
        F32 | F16 | BF16 => unreachable!(),
    }
}

fn pack_scales(block_type: BlockType, parameters: &BlockParameters, out: &mut [u8]) {
    let BlockParameters { scales, mins, .. } = parameters;
    match block_type {
        Q2_K => (0..16).for_each(|k| out[k] = scales[k] as u8 & 15 | (mins[k] as u8) << 4),
        Q3_K => {
            for k in 0..16 {
                let stored = (scales[k] + 32) as u8;
                out[96 + k % 8] |= (stored & 15) << (4 * (k / 8));
                out[104 + k % 4] |= (stored >> 4 & 3) << (2 * (k / 4));
            }
        }
        Q4_K | Q5_K => {
            let field = &mut out[4..16];
            for k in 0..4 {
                field[k] |= scales[k] as u8 & 63;
                field[k + 4] |= mins[k] as u8 & 63;
            }
            for k in 4..8 {
                let (scale, min) = (scales[k] as u8, mins[k] as u8);
                field[k + 4] |= scale & 15 | (min & 15) << 4;
                field[k - 4] |= (scale >> 4 & 3) << 6;
                field[k] |= (min >> 4 & 3) << 6;
            }
        }
        Q6_K => (0..16).for_each(|k| out[192 + k] = scales[k] as i8 as u8),
        _ => {}
    }
}

fn put_low_then_high(codes: &[u8], out: &mut [u8]) {
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = codes[i] & 15 | codes[i + 16] << 4;
    }
}

fn put_runs_of_nibbles(codes: &[u8], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(64).zip(out.chunks_exact_mut(32)) {
        for (l, byte) in out.iter_mut().enumerate() {
            *byte = codes[l] & 15 | codes[l + 32] << 4;
        }
    }
}

fn put_two_bits(codes: &[u8], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(128).zip(out.chunks_exact_mut(32)) {
        for (l, byte) in out.iter_mut().enumerate() {
            for j in 0..4 {
                *byte |= (codes[32 * j + l] & 3) << (2 * j);
            }
        }
    }
}
