//! Random tensors from Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section
//! 3.3). What each element holds is defined here, whatever the number of threads:
//!
//! - The key is a 64-bit number: its low word is k0, its high word k1. Block c has the 64-bit counter `counter + c`
//!   (wrapping), low word first; the two high words of the 128-bit counter are 0. Word w of block c is word 4 c + w
//!   of the stream.
//! - `bits`: u32 element i is word i; u64 element i is word 2i plus 2^32 times word 2i + 1.
//! - `uniform` in [0, 1): f32 element i is (word i >> 8) 2^-24, and bf16 is that rounded to the nearest (so 1 may
//!   occur); f64 element i is ((word 2i >> 5) 2^26 + (word 2i + 1 >> 6)) 2^-53.
//! - `normal`, by Box and Muller in f64, then rounded: with u1 = (word 2i + 0.5) 2^-32, u2 = (word 2i + 1 + 0.5) 2^-32
//!   and r = sqrt(-2 ln u1), element 2i is r cos(2 pi u2) and element 2i + 1 is r sin(2 pi u2).

use crate::arena::View;
use crate::dtype::{Compute, DType, f32_to_bf16};
use crate::fault::{Fault, Result, border, js};
use crate::tensors::extents;
use crate::{parallel, simd, with_compute};
use half::bf16;
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// Blocks that are worked out side by side.
const WIDTH: usize = 16;
const WORDS: usize = 4 * WIDTH;

#[derive(Clone, Copy)]
pub struct Stream {
    pub key: u64,
    pub counter: u64,
}

/// `WIDTH` consecutive blocks, each word of them in its own row.
#[inline(always)]
// Lane i of all four words at once: that is what vectorises.
#[allow(clippy::needless_range_loop)]
fn philox(key: u64, counter: u64) -> [[u32; WIDTH]; 4] {
    let mut c = [[0; WIDTH]; 4];
    for i in 0..WIDTH {
        let block = counter.wrapping_add(i as u64);
        (c[0][i], c[1][i]) = (block as u32, (block >> 32) as u32);
    }
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        for i in 0..WIDTH {
            let first = 0xd251_1f53 * u64::from(c[0][i]);
            let second = 0xcd9e_8d57 * u64::from(c[2][i]);
            c[0][i] = (second >> 32) as u32 ^ c[1][i] ^ k0;
            c[2][i] = (first >> 32) as u32 ^ c[3][i] ^ k1;
            c[1][i] = second as u32;
            c[3][i] = first as u32;
        }
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    c
}

simd! {
    /// Words of the stream from word `start` (a multiple of four) on.
    pub fn words(stream: Stream, start: usize, out: &mut [u32]) {
        for (index, part) in out.chunks_mut(WORDS).enumerate() {
            let block = (start / 4 + index * WIDTH) as u64;
            let c = philox(stream.key, stream.counter.wrapping_add(block));
            let mut line = [0; WORDS];
            for i in 0..WIDTH {
                for w in 0..4 {
                    line[4 * i + w] = c[w][i];
                }
            }
            part.copy_from_slice(&line[..part.len()]);
        }
    }
}

/// Fills `out` chunk by chunk; `each` turns words into elements.
fn filled<T: Send>(
    stream: Stream,
    out: &mut [T],
    words_per_element: usize,
    each: impl Fn(&[u32], &mut [T]) + Send + Sync,
) -> Result<()> {
    // A multiple of four words, and of two elements.
    const CHUNK: usize = 1 << 12;
    parallel::chunks(out, CHUNK * 4, |begin, part| {
        let mut buffer = [0u32; 2 * CHUNK];
        for (index, part) in part.chunks_mut(CHUNK).enumerate() {
            let start = (begin + index * CHUNK) * words_per_element;
            // Normal numbers come in pairs: an odd end still needs both words.
            let count = (part.len() * words_per_element).next_multiple_of(2);
            let buffer = &mut buffer[..count];
            words(stream, start, buffer);
            each(buffer, part);
        }
    })
}

fn uniform_f32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

fn normal<T: Compute>(words: &[u32], out: &mut [T]) {
    use crate::dtype::num::Float;
    const UNIT: f64 = 1.0 / 4_294_967_296.0;
    for (pair, words) in out.chunks_mut(2).zip(words.chunks_exact(2)) {
        let (u1, u2) = (
            (f64::from(words[0]) + 0.5) * UNIT,
            (f64::from(words[1]) + 0.5) * UNIT,
        );
        let radius = (-2.0 * u1.ln()).sqrt();
        let (sin, cos) = (2.0 * std::f64::consts::PI * u2).sin_cos();
        pair[0] = T::narrow(T::Wide::from_f64(radius * cos));
        if let Some(second) = pair.get_mut(1) {
            *second = T::narrow(T::Wide::from_f64(radius * sin));
        }
    }
}

/// A new tensor of `uniform` or `normal` numbers (f32, f64, bf16) or of `bits` (u32, u64).
pub fn random(kind: &str, dtype: DType, shape: &[usize], stream: Stream) -> Result<View> {
    let out = View::empty(dtype, shape)?;
    match (kind, dtype) {
        ("bits", DType::U32) => filled(stream, out.slice_mut::<u32>()?, 1, |words, part| {
            part.copy_from_slice(&words[..part.len()])
        }),
        ("bits", DType::U64) => filled(stream, out.slice_mut::<u64>()?, 2, |words, part| {
            let pairs = words.chunks_exact(2);
            part.iter_mut()
                .zip(pairs)
                .for_each(|(to, w)| *to = u64::from(w[0]) | u64::from(w[1]) << 32);
        }),
        ("uniform", DType::F32) => filled(stream, out.slice_mut::<f32>()?, 1, |words, part| {
            part.iter_mut()
                .zip(words)
                .for_each(|(to, &word)| *to = uniform_f32(word));
        }),
        ("uniform", DType::BF16) => filled(stream, out.slice_mut::<bf16>()?, 1, |words, part| {
            part.iter_mut()
                .zip(words)
                .for_each(|(to, &word)| *to = f32_to_bf16(uniform_f32(word)));
        }),
        ("uniform", DType::F64) => filled(stream, out.slice_mut::<f64>()?, 2, |words, part| {
            for (to, w) in part.iter_mut().zip(words.chunks_exact(2)) {
                let whole = (u64::from(w[0] >> 5) << 26) + u64::from(w[1] >> 6);
                *to = whole as f64 * (1.0 / 9_007_199_254_740_992.0);
            }
        }),
        ("normal", _) => {
            with_compute!(dtype, "normal", T => filled(stream, out.slice_mut::<T>()?, 1, normal::<T>))
        }
        ("bits" | "uniform", _) => Err(Fault::shape(format!(
            "random: {kind} has no form in {}",
            dtype.name()
        ))),
        _ => Err(Fault::shape(format!("random: no distribution is called {kind}"))),
    }?;
    Ok(out)
}

pub fn word64(value: &BigInt, what: &str) -> Result<u64> {
    match value.get_u64() {
        (false, word, true) => Ok(word),
        _ => Err(Fault::shape(format!(
            "random: the {what} must be a whole number from 0 to 2^64 - 1"
        ))),
    }
}

#[napi(js_name = "random")]
pub fn random_border(
    kind: String,
    dtype: u32,
    shape: Vec<u32>,
    key: BigInt,
    counter: BigInt,
) -> js::Result<u32> {
    border(|| {
        let stream = Stream {
            key: word64(&key, "key")?,
            counter: word64(&counter, "counter")?,
        };
        Ok(random(&kind, DType::from_code(dtype)?, &extents(&shape), stream)?.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Stream = Stream { key: 0, counter: 0 };

    #[test]
    fn the_first_block_under_key_0_is_the_published_one() {
        let x = random("bits", DType::U32, &[6], ZERO).unwrap();
        assert_eq!(
            x.slice::<u32>().unwrap()[..4],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        let next = random("bits", DType::U32, &[2], Stream { key: 0, counter: 1 }).unwrap();
        assert_eq!(next.slice::<u32>().unwrap(), &x.slice::<u32>().unwrap()[4..]);
        let wide = random("bits", DType::U64, &[2], ZERO).unwrap();
        assert_eq!(
            wide.slice::<u64>().unwrap(),
            [0xe169_c58d_6627_e8d5, 0x9b00_dbd8_bc57_ac4c]
        );
    }

    #[test]
    fn a_stream_cut_at_any_block_goes_on_the_same() {
        let stream = Stream {
            key: 0x0123_4567_89ab_cdef,
            counter: u64::from(u32::MAX) - 3,
        };
        for (kind, dtype) in [("normal", DType::F32), ("uniform", DType::F32)] {
            let whole = random(kind, dtype, &[100_001], stream).unwrap();
            let rest = random(
                kind,
                dtype,
                &[60_001],
                Stream {
                    counter: stream.counter + 10_000,
                    ..stream
                },
            )
            .unwrap();
            assert_eq!(
                whole.slice::<f32>().unwrap()[40_000..],
                *rest.slice::<f32>().unwrap()
            );
        }
    }

    #[test]
    fn numbers_follow_their_definition_and_their_moments() {
        let words = random("bits", DType::U32, &[200_000], ZERO).unwrap();
        let words = words.slice::<u32>().unwrap();
        let uniform = random("uniform", DType::F64, &[100_000], ZERO).unwrap();
        let uniform = uniform.slice::<f64>().unwrap();
        let want =
            (f64::from(words[6] >> 5) * 67_108_864.0 + f64::from(words[7] >> 6)) / 9_007_199_254_740_992.0;
        assert_eq!(uniform[3], want);
        let mean = uniform.iter().sum::<f64>() / 1e5;
        // Six standard errors of 100000 numbers with variance 1/12.
        assert!((mean - 0.5).abs() < 6.0 * (1.0f64 / 12.0 / 1e5).sqrt(), "{mean}");
        let normal = random("normal", DType::F32, &[100_000], ZERO).unwrap();
        let normal = normal.slice::<f32>().unwrap();
        let mean = normal.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e5;
        let square = normal.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / 1e5;
        assert!(
            mean.abs() < 6.0 / 1e5f64.sqrt() && (square - 1.0).abs() < 6.0 * (2.0 / 1e5f64).sqrt(),
            "{mean} {square}"
        );
    }
}
