//! Dropout (Srivastava et al. 2014): element i survives where word i of a Philox stream is not below p 2^32, and is then
//! divided by 1 - p. The mask is never stored: the same stream gives it again for the gradient.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::{Result, border, js};
use crate::random::{Stream, word64, words};
use crate::{parallel, simd, with_compute};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// Elements whose words are drawn at a time; a multiple of four.
const CHUNK: usize = 1 << 12;

simd! {
    fn masked<T: Compute>(x: &[T], words: &[u32], least: u32, scale: T::Wide, out: &mut [T]) {
        for (o, (x, &word)) in out.iter_mut().zip(x.iter().zip(words)) {
            let kept = x.widen() * scale;
            *o = T::narrow(if word >= least { kept } else { T::Wide::ZERO });
        }
    }
}

/// p is in [0, 1).
pub fn dropout(x: &View, p: f64, stream: Stream) -> Result<View> {
    let out = View::empty(x.dtype, &x.shape)?;
    let x = copy::contiguous(x)?;
    let least = (p * 4_294_967_296.0) as u32;
    with_compute!(x.dtype, "dropout", T => {
        let from = x.slice::<T>()?;
        let scale = <<T as Compute>::Wide as Float>::from_f64(1.0 / (1.0 - p));
        parallel::chunks(out.slice_mut::<T>()?, parallel::SMALL, |begin, part| {
            let mut buffer = [0u32; CHUNK];
            for (index, part) in part.chunks_mut(CHUNK).enumerate() {
                let start = begin + index * CHUNK;
                let buffer = &mut buffer[..part.len()];
                words(stream, start, buffer);
                masked::<T>(&from[start..start + part.len()], buffer, least, scale, part);
            }
        })
    })?;
    Ok(out)
}

/// x / (1 - p) where the word of the stream is at least p 2^32, and 0 elsewhere.
#[napi(js_name = "dropout")]
pub fn dropout_border(x: u32, p: f64, key: BigInt, counter: BigInt) -> js::Result<u32> {
    border(|| {
        let stream = Stream {
            key: word64(&key, "key")?,
            counter: word64(&counter, "counter")?,
        };
        Ok(dropout(&view(x)?, p, stream)?.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_falls_is_p_and_the_rest_grows_by_its_inverse() {
        let x = View::filled(&[100_000], |_| 3.0);
        let stream = Stream { key: 7, counter: 2 };
        let out = dropout(&x, 0.25, stream).unwrap();
        let out = out.slice::<f32>().unwrap();
        assert!(out.iter().all(|&v| v == 0.0 || v == 4.0));
        let kept = out.iter().filter(|&&v| v != 0.0).count() as f64 / 1e5;
        // Six standard errors.
        assert!(
            (kept - 0.75).abs() < 6.0 * (0.25f64 * 0.75 / 1e5).sqrt(),
            "{kept}"
        );
    }
}
