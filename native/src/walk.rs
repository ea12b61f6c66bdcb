//! Brings strided tensors block by block to loops over dense elements.

use crate::arena::View;
use crate::copy::{Collapsed, bf16_to_f32, collapse, f32_to_bf16, row_offset};
use crate::dtype::{DType, Element};
use crate::fault::Result;
use crate::rows::{BLOCK, Piece, Pieces, load, readable};
use crate::{parallel, simd};
use half::bf16;

pub type Map<I, O> = fn(&[I], &mut [O]);
pub type Pair<I, O> = fn(&[I], &[I], &mut [O]);

/// What is stored, and the type in which loops see it.
pub trait Stored: Element + Default {
    type Seen: Copy + Default;
    /// The dense form of stored elements.
    fn seen<'a>(stored: &'a [Self], buffer: &'a mut [Self::Seen; BLOCK]) -> &'a [Self::Seen];
    /// Lets `fill` write into `out`.
    fn store(out: &mut [Self], buffer: &mut [Self::Seen; BLOCK], fill: impl FnOnce(&mut [Self::Seen]));
}

macro_rules! stored_as_seen {
    ($($rust:ty)*) => { $(impl Stored for $rust {
        type Seen = $rust;
        #[inline(always)]
        fn seen<'a>(stored: &'a [$rust], _buffer: &'a mut [$rust; BLOCK]) -> &'a [$rust] {
            stored
        }
        #[inline(always)]
        fn store(out: &mut [$rust], _buffer: &mut [$rust; BLOCK], fill: impl FnOnce(&mut [$rust])) {
            fill(out);
        }
    })* };
}
stored_as_seen!(f32 f64 u8 u16 i32 u32 u64);

impl Stored for bf16 {
    type Seen = f32;
    fn seen<'a>(stored: &'a [bf16], buffer: &'a mut [f32; BLOCK]) -> &'a [f32] {
        let buffer = &mut buffer[..stored.len()];
        bf16_to_f32(stored, buffer);
        buffer
    }
    fn store(out: &mut [bf16], buffer: &mut [f32; BLOCK], fill: impl FnOnce(&mut [f32])) {
        let buffer = &mut buffer[..out.len()];
        fill(buffer);
        f32_to_bf16(buffer, out);
    }
}

/// Reads one operand of a plan.
struct Reader<'a, T: Stored> {
    from: &'a [T],
    raw: [T; BLOCK],
    seen: [T::Seen; BLOCK],
}

impl<'a, T: Stored> Reader<'a, T> {
    fn new(from: &'a [T]) -> Reader<'a, T> {
        Reader {
            from,
            raw: [T::default(); BLOCK],
            seen: [T::Seen::default(); BLOCK],
        }
    }

    fn read<const N: usize>(&mut self, plan: &Collapsed<N>, operand: usize, piece: Piece) -> &[T::Seen] {
        let strides = &plan.strides[operand];
        let stride = strides[strides.len() - 1];
        let base = row_offset(piece.row, &plan.shape, strides) + piece.column * stride;
        T::seen(
            load(self.from, base, stride, piece.length, &mut self.raw),
            &mut self.seen,
        )
    }
}

/// Calls `body(piece, part)` for the pieces of the output, in parallel.
fn pieces<const N: usize, O: Stored, S>(
    out: &View,
    plan: &Collapsed<N>,
    state: impl Fn() -> S + Send + Sync,
    body: impl Fn(&mut S, Piece, &mut [O]) + Send + Sync,
) -> Result<()> {
    let width = plan.shape[plan.shape.len() - 1];
    parallel::chunks(out.slice_mut::<O>()?, parallel::SMALL, |start, part| {
        let mut state = state();
        let mut at = 0;
        for piece in Pieces::new(start, start + part.len(), width, BLOCK) {
            body(&mut state, piece, &mut part[at..at + piece.length]);
            at += piece.length;
        }
    })
}

/// The results of `kernel` on every element of x, as `dtype`, which `O` stores.
pub fn map<I: Stored, O: Stored>(x: &View, dtype: DType, kernel: Map<I::Seen, O::Seen>) -> Result<View> {
    let out = View::empty(dtype, &x.shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let x = readable(x)?;
    let plan = collapse(&x.shape, [&x.strides]);
    let from = x.tail::<I>()?;
    let state = || (Reader::new(from), [O::Seen::default(); BLOCK]);
    pieces::<1, O, _>(&out, &plan, state, |(x, buffer), piece, part| {
        let x = x.read(&plan, 0, piece);
        O::store(part, buffer, |out| kernel(x, out));
    })?;
    Ok(out)
}

/// The results of `kernel` on every two elements of a and b, which have one shape.
pub fn pair<I: Stored, O: Stored>(
    a: &View,
    b: &View,
    dtype: DType,
    kernel: Pair<I::Seen, O::Seen>,
) -> Result<View> {
    let out = View::empty(dtype, &a.shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let (a, b) = (readable(a)?, readable(b)?);
    let plan = collapse(&a.shape, [&a.strides, &b.strides]);
    let (left, right) = (a.tail::<I>()?, b.tail::<I>()?);
    let state = || (Reader::new(left), Reader::new(right), [O::Seen::default(); BLOCK]);
    pieces::<2, O, _>(&out, &plan, state, |(a, b, buffer), piece, part| {
        let (a, b) = (a.read(&plan, 0, piece), b.read(&plan, 1, piece));
        O::store(part, buffer, |out| kernel(a, b, out));
    })?;
    Ok(out)
}

simd! {
    fn chosen<T: Element>(condition: &[u8], a: &[T], b: &[T], out: &mut [T]) {
        let both = a.iter().zip(b);
        for (o, (&c, (&a, &b))) in out.iter_mut().zip(condition.iter().zip(both)) {
            *o = if c != 0 { a } else { b };
        }
    }
}

/// Elements of a where the condition holds, of b elsewhere; `T` has their width.
pub fn choose<T: Stored<Seen = T>>(condition: &View, a: &View, b: &View) -> Result<View> {
    let out = View::empty(a.dtype, &a.shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let (condition, a, b) = (readable(condition)?, readable(a)?, readable(b)?);
    let plan = collapse(&a.shape, [&condition.strides, &a.strides, &b.strides]);
    let (flags, left, right) = (condition.tail::<u8>()?, a.tail::<T>()?, b.tail::<T>()?);
    let state = || (Reader::new(flags), Reader::new(left), Reader::new(right));
    pieces::<3, T, _>(&out, &plan, state, |(condition, a, b), piece, part| {
        chosen::<T>(
            condition.read(&plan, 0, piece),
            a.read(&plan, 1, piece),
            b.read(&plan, 2, piece),
            part,
        );
    })?;
    Ok(out)
}
