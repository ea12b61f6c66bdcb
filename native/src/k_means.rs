//! Lloyd's algorithm on many short vectors. Every vector goes to the first of its nearest centroids, every centroid to the
//! mean of its vectors; one without vectors stays.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::matrices::unless_aborted;
use crate::micro_tiles::Real;
use crate::nearest_entry::Entries;
use crate::parallel::{self, Shared};
use crate::with_number;
use napi_derive::napi;

/// Vectors of one task that assigns, and parts that sums are made in: by shape alone.
const CHUNK: usize = 1024;
const PARTS: usize = 8;
/// Rounds between two looks at whether centroids still move.
const LOOK: usize = 10;

crate::simd! {
    fn assign<T: Real>(vectors: &[T], entries: &Entries<T>, halves: &[T], codes: &mut [u32]) {
        let one = <T as Float>::ONE;
        for (vector, code) in vectors.chunks_exact(entries.size).zip(codes) {
            *code = entries.best(halves, one, vector).0 as u32;
        }
    }
}

fn assign_all<T: Real>(vectors: &[T], size: usize, centroids: &[T], codes: &mut [u32]) -> Result<()> {
    let entries = Entries::new(centroids, size);
    let halves = entries.penalties(|k| {
        let squares = centroids[k * size..][..size]
            .iter()
            .map(|&x| x.to_f64() * x.to_f64());
        <T as Float>::from_f64(0.5 * squares.sum::<f64>())
    });
    parallel::chunks(codes, CHUNK, |start, codes| {
        assign(
            &vectors[start * size..][..codes.len() * size],
            &entries,
            &halves,
            codes,
        );
    })
}

/// Sums in f64 of the vectors of each centroid, and how many there are, over a fixed number of parts.
fn means<T: Real>(vectors: &[T], size: usize, codes: &[u32], centroids: &mut [T]) -> Result<()> {
    let part = codes.len().div_ceil(PARTS).max(1);
    let width = centroids.len();
    let mut sums = vec![0.0f64; PARTS * width];
    let mut counts = vec![0u64; PARTS * width / size];
    let (all, numbers) = (Shared(sums.as_mut_ptr()), Shared(counts.as_mut_ptr()));
    parallel::tasks(PARTS, |task| {
        // SAFETY: each task writes the sums and counts of its own part.
        let (sums, counts) = unsafe {
            (
                std::slice::from_raw_parts_mut(all.get().add(task * width), width),
                std::slice::from_raw_parts_mut(numbers.get().add(task * width / size), width / size),
            )
        };
        let range = (task * part).min(codes.len())..((task + 1) * part).min(codes.len());
        let own = &vectors[range.start * size..range.end * size];
        for (&code, vector) in codes[range].iter().zip(own.chunks_exact(size)) {
            counts[code as usize] += 1;
            let sum = &mut sums[code as usize * size..][..size];
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x.to_f64());
        }
    })?;
    for (k, centroid) in centroids.chunks_exact_mut(size).enumerate() {
        let count: u64 = (0..PARTS).map(|part| counts[part * width / size + k]).sum();
        if count == 0 {
            continue;
        }
        for (t, x) in centroid.iter_mut().enumerate() {
            let sum: f64 = (0..PARTS).map(|part| sums[part * width + k * size + t]).sum();
            *x = <T as Float>::from_f64(sum / count as f64);
        }
    }
    Ok(())
}

/// Moves the centroids [count, size] for at most so many rounds, and ends with the codes that belong to them.
pub fn k_means<T: Real>(
    vectors: &[T],
    size: usize,
    centroids: &mut [T],
    rounds: usize,
    codes: &mut [u32],
) -> Result<()> {
    let mut seen = centroids.to_vec();
    for round in 1..=rounds {
        unless_aborted()?;
        assign_all(vectors, size, centroids, codes)?;
        means(vectors, size, codes, centroids)?;
        if round % LOOK == 0 {
            let still = seen.iter().zip(&*centroids).all(|(&before, &now)| {
                (now.to_f64() - before.to_f64()).abs() <= 1e-8 + 1e-6 * before.to_f64().abs()
            });
            if still {
                break;
            }
            seen.copy_from_slice(centroids);
        }
    }
    assign_all(vectors, size, centroids, codes)
}

/// What Lloyd's algorithm ends with.
#[napi(object)]
pub struct Clusters {
    /// [count, size]
    pub centroids: u32,
    /// u32 [vectors]
    pub codes: u32,
}

/// vectors [n, size] and start [count, size] in f32 or f64, finite.
#[napi(js_name = "kMeans")]
pub fn k_means_border(vectors: u32, start: u32, rounds: u32) -> js::Result<Clusters> {
    border(|| {
        let (vectors, start) = (copy::contiguous(&view(vectors)?)?, copy::copy(&view(start)?)?);
        let (&[n, size], &[count, width]) = (&*vectors.shape, &*start.shape) else {
            return Err(Fault::shape("kMeans: vectors and centroids have 2 axes"));
        };
        if size == 0 || count == 0 || width != size || start.dtype != vectors.dtype {
            return Err(Fault::shape(format!(
                "kMeans: vectors {:?} and centroids {:?} do not fit",
                &*vectors.shape, &*start.shape
            )));
        }
        let codes = View::empty(DType::U32, &[n])?;
        with_number!(vectors.dtype, "kMeans", T => {
            let all = vectors.slice::<T>()?;
            if all.iter().any(|x| !x.is_finite()) {
                return Err(Fault::numerical("kMeans: needs finite numbers"));
            }
            k_means::<T>(all, size, start.slice_mut()?, rounds as usize, codes.slice_mut()?)
        })?;
        Ok(Clusters {
            centroids: start.into_handle(),
            codes: codes.into_handle(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_found_and_an_empty_centroid_stays() {
        let vectors = [0.0f64, 0.0, 0.0, 2.0, 9.0, 9.0, 11.0, 9.0];
        let mut centroids = [0.0, 0.0, 9.0, 9.0, -50.0, 0.0];
        let mut codes = [9u32; 4];
        k_means(&vectors, 2, &mut centroids, 100, &mut codes).unwrap();
        assert_eq!(codes, [0, 0, 1, 1]);
        assert_eq!(centroids, [0.0, 1.0, 10.0, 9.0, -50.0, 0.0]);
    }
}
