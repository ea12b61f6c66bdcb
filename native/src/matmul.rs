//! Matrix products in f32 and f64 over faer, cut into tiles by shape alone, with an epilogue while a tile is in
//! cache. bf16 products stand in matmul_bf16.rs.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::matmul_bf16;
use crate::parallel::{self, Shared};
use napi_derive::napi;
use pare_dense::{Accum, Dense, MatMut, MatRef, Par};

/// What happens to a tile of the product before it leaves the cache.
#[derive(Clone, Copy, PartialEq)]
pub enum Activation {
    None,
    Relu,
    Silu,
}

pub struct Epilogue<'a, T> {
    /// One value a column.
    pub bias: Option<&'a [T]>,
    pub activation: Activation,
    /// Added last; row-major, as large as the product.
    pub residual: Option<&'a [T]>,
}

/// One operand: a strided matrix.
#[derive(Clone, Copy)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Numbers that faer multiplies.
pub trait Real: crate::dtype::Compute<Wide = Self> + crate::dtype::num::Float + Dense {}
impl Real for f32 {}
impl Real for f64 {}

/// Extents of a tile: two tiles at least where the product is large, so that two threads are busy, and no more
/// than what repays the packing of the other operand.
pub fn tile_of(rows: usize, columns: usize) -> (usize, usize) {
    const LIMIT: usize = 1 << 16;
    let (mut height, mut width) = (rows, columns);
    while height * width > LIMIT && (height > 128 || width > 128) {
        if width >= height {
            width = width.div_ceil(2).next_multiple_of(16)
        } else {
            height = height.div_ceil(2).next_multiple_of(16)
        }
    }
    (height.max(1), width.max(1))
}

/// out[b] = epilogue(left[b] * right[b]); out is row-major [batch, m, n].
pub fn product<T: Real>(
    (left, a): (&[T], Matrix),
    left_batch: &[usize],
    (right, b): (&[T], Matrix),
    right_batch: &[usize],
    out: &mut [T],
    epilogue: &Epilogue<T>,
) -> Result<()> {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    if out.is_empty() {
        return Ok(());
    }
    let (height, width) = tile_of(m, n);
    let (down, across) = (m.div_ceil(height), n.div_ceil(width));
    let batches = left_batch.len();
    let target = Shared(out.as_mut_ptr());
    let tile = |task: usize| {
        let (batch, rest) = (task / (down * across), task % (down * across));
        let (top, start) = (rest / across * height, rest % across * width);
        let (rows, columns) = (height.min(m - top), width.min(n - start));
        let x = &left[left_batch[batch] + top * a.row_stride..];
        let y = &right[right_batch[batch] + start * b.column_stride..];
        // SAFETY: the strides were checked against the buffers when the views were made, and the tile
        // (batch, top, start) of the output belongs to this task alone.
        let (x, y, mut tile) = unsafe {
            (
                MatRef::from_raw_parts(
                    x.as_ptr(),
                    rows,
                    k,
                    a.row_stride as isize,
                    a.column_stride as isize,
                ),
                MatRef::from_raw_parts(
                    y.as_ptr(),
                    k,
                    columns,
                    b.row_stride as isize,
                    b.column_stride as isize,
                ),
                MatMut::from_raw_parts_mut(
                    target.get().add(batch * m * n + top * n + start),
                    rows,
                    columns,
                    n as isize,
                    1,
                ),
            )
        };
        T::multiply(tile.as_mut(), Accum::Replace, x, y, T::ONE, Par::Seq);
        for row in 0..rows {
            // SAFETY: as above; rows of the tile do not overlap.
            let line = unsafe {
                std::slice::from_raw_parts_mut(
                    target.get().add(batch * m * n + (top + row) * n + start),
                    columns,
                )
            };
            finish(line, epilogue, start, batch * m * n + (top + row) * n + start);
        }
    };
    let work = m * n * k * batches;
    let tasks = batches * down * across;
    if work < 1 << 18 {
        (0..tasks).for_each(tile);
        return Ok(());
    }
    parallel::tasks(tasks, tile)
}

#[inline]
pub fn finish<T: Real>(line: &mut [T], epilogue: &Epilogue<T>, column: usize, position: usize) {
    if let Some(bias) = epilogue.bias {
        line.iter_mut().zip(&bias[column..]).for_each(|(x, &b)| *x += b);
    }
    match epilogue.activation {
        Activation::None => {}
        Activation::Relu => line
            .iter_mut()
            .for_each(|x| *x = if *x < T::ZERO { T::ZERO } else { *x }),
        Activation::Silu => line
            .iter_mut()
            .for_each(|x| *x = *x / (T::ONE + <T as crate::dtype::num::Float>::exp(-*x))),
    }
    if let Some(residual) = epilogue.residual {
        line.iter_mut()
            .zip(&residual[position..])
            .for_each(|(x, &r)| *x += r);
    }
}

/// Offsets of the batches of a [.., rows, columns] view, in row-major order of its leading axes.
pub fn batch_offsets(x: &View) -> Vec<usize> {
    let leading = x.shape.len() - 2;
    let count: usize = x.shape[..leading].iter().product();
    (0..count)
        .map(|mut index| {
            let mut offset = 0;
            for axis in (0..leading).rev() {
                offset += index % x.shape[axis] * x.strides[axis];
                index /= x.shape[axis];
            }
            offset
        })
        .collect()
}

pub fn matrix_of(x: &View) -> Matrix {
    let axes = x.shape.len();
    Matrix {
        rows: x.shape[axes - 2],
        columns: x.shape[axes - 1],
        row_stride: x.strides[axes - 2],
        column_stride: x.strides[axes - 1],
    }
}

/// A matrix whose rows or columns are dense; others (slices with a step) are copied first.
fn readable(x: View) -> Result<View> {
    let m = matrix_of(&x);
    let dense = m.row_stride == 1 || m.column_stride == 1 || m.rows == 1 || m.columns == 1;
    if dense { Ok(x) } else { copy::copy(&x) }
}

/// [.., m, k] times [.., k, n]; leading axes are equal.
pub fn matmul(
    left: &View,
    right: &View,
    bias: Option<&View>,
    activation: Activation,
    residual: Option<&View>,
) -> Result<View> {
    let wrong = |why: String| {
        Fault::shape(format!(
            "matmul: {why}, got {:?} times {:?}",
            &*left.shape, &*right.shape
        ))
    };
    let axes = left.shape.len();
    if axes < 2 || right.shape.len() != axes || left.shape[..axes - 2] != right.shape[..axes - 2] {
        return Err(wrong("needs equal leading axes".into()));
    }
    if left.shape[axes - 1] != right.shape[axes - 2] {
        return Err(wrong(
            "needs as many columns on the left as rows on the right".into(),
        ));
    }
    if left.dtype != right.dtype {
        return Err(wrong(format!(
            "needs one number type, got {} and {}",
            left.dtype.name(),
            right.dtype.name()
        )));
    }
    let mut shape = left.shape.to_vec();
    shape[axes - 1] = right.shape[axes - 1];
    let columns = shape[axes - 1];
    if let Some(bias) = bias
        && (bias.dtype != left.dtype || bias.len() != columns)
    {
        return Err(wrong(format!(
            "needs a bias of {columns} values of the same number type"
        )));
    }
    let residual = residual.map(copy::contiguous).transpose()?;
    if let Some(residual) = &residual
        && (residual.dtype != left.dtype || *residual.shape != *shape)
    {
        return Err(wrong(format!(
            "needs a residual of shape {shape:?} and the same number type"
        )));
    }
    let bias = bias.map(copy::contiguous).transpose()?;
    let (left, right) = (readable(left.clone())?, readable(right.clone())?);
    if left.dtype == DType::BF16 {
        return matmul_bf16::matmul(
            &left,
            &right,
            bias.as_ref(),
            activation,
            residual.as_ref(),
            &shape,
        );
    }
    let out = View::empty(left.dtype, &shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    fn run<T: Real>(
        left: &View,
        right: &View,
        bias: Option<&View>,
        activation: Activation,
        residual: Option<&View>,
        out: &View,
    ) -> Result<()> {
        let epilogue = Epilogue {
            bias: bias.map(View::slice::<T>).transpose()?,
            activation,
            residual: residual.map(View::slice::<T>).transpose()?,
        };
        product(
            (left.tail::<T>()?, matrix_of(left)),
            &batch_offsets(left),
            (right.tail::<T>()?, matrix_of(right)),
            &batch_offsets(right),
            out.slice_mut::<T>()?,
            &epilogue,
        )
    }
    match left.dtype {
        DType::F32 => run::<f32>(&left, &right, bias.as_ref(), activation, residual.as_ref(), &out)?,
        DType::F64 => run::<f64>(&left, &right, bias.as_ref(), activation, residual.as_ref(), &out)?,
        other => {
            return Err(Fault::shape(format!(
                "matmul: needs f32, f64 or bf16, got {}; cast it first",
                other.name()
            )));
        }
    }
    Ok(out)
}

pub fn activation_of(name: &str) -> Result<Activation> {
    match name {
        "none" => Ok(Activation::None),
        "relu" => Ok(Activation::Relu),
        "silu" => Ok(Activation::Silu),
        other => Err(Fault::shape(format!(
            "matmul: no activation is called {other}; use none, relu or silu"
        ))),
    }
}

/// [.., m, k] times [.., k, n], then + bias [n], activation, + residual [.., m, n].
#[napi(js_name = "matmul")]
pub fn matmul_border(
    left: u32,
    right: u32,
    bias: Option<u32>,
    activation: String,
    residual: Option<u32>,
) -> js::Result<u32> {
    border(|| {
        let bias = bias.map(view).transpose()?;
        let residual = residual.map(view).transpose()?;
        let out = matmul(
            &view(left)?,
            &view(right)?,
            bias.as_ref(),
            activation_of(&activation)?,
            residual.as_ref(),
        )?;
        Ok(out.into_handle())
    })
}
