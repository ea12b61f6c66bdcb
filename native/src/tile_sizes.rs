//! How large the pieces of a product are, so that they fit the caches. Of these sizes only `DEPTH` shows in the bits of
//! a product: a number of the output is summed over the inner extent in an order that depends on that extent alone.

use crate::simd::{Level, level};

/// Steps of the inner extent that one call of the micro kernel takes, at most: a sliver of the right operand stays in
/// the first-level cache.
pub const DEPTH: usize = 256;

/// Numbers of an operand that are packed at once, for all threads: they stay in the last-level cache.
pub const PANEL: usize = 1 << 21;

/// Steps of one call of the micro kernel over `depth` of them. Even shares: a short last one would cost as much around it
/// as a long one.
pub fn share(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1)
}

/// What fits the second-level cache.
pub struct Fit {
    /// Rows of the left operand over `DEPTH` steps.
    pub rows: usize,
    /// Numbers of the right operand in a strip, which one task packs for itself.
    pub strip: usize,
    /// Rows and columns of a tile of a triangle. Its sums are kept apart from the output, beside the slivers.
    pub triangle: (usize, usize),
}

/// The sizes for numbers of type `T`, of 4 or 8 bytes.
pub fn fit<T>() -> Fit {
    let share = size_of::<T>() / 4;
    // Machines with AVX-512 have caches of 1 to 2 MiB, others 256 to 512 KiB.
    let (rows, strip) = if level() == Level::Avx512 {
        (504, 1 << 18)
    } else {
        (96, 1 << 17)
    };
    // At most 96 KiB of sums on every machine, so that a small triangle also has tiles for several threads.
    let triangle = (96 / share, 256 / share);
    Fit {
        rows: rows / share,
        strip: strip / share,
        triangle,
    }
}

/// The most even parts of an extent, each a multiple of `unit` and of at most about `limit`.
pub fn even(extent: usize, limit: usize, unit: usize) -> usize {
    let parts = extent.div_ceil(limit.max(unit)).max(1);
    extent.div_ceil(parts).next_multiple_of(unit).max(unit)
}
