//! What the matrix factorisations share: column-major copies, workspaces and refusals.

use crate::arena::{Dims, View};
use crate::copy;
use crate::dtype::{Compute, DType};
use crate::fault::{Fault, Result};
use crate::parallel;
use pare_dense::{Failure, MatMut, MatRef, Par};

/// Numbers that matrices are factorised in.
pub trait Number: crate::product::Real + Compute<Wide = Self> {}
impl Number for f32 {}
impl Number for f64 {}

/// Into how many parts the library cuts its work: never the number of threads, or the bits would depend on it.
pub fn parts() -> Par {
    Par::rayon(4)
}

/// Runs `$body` with `$T` bound to f32 or f64.
#[macro_export]
macro_rules! with_number {
    ($dtype:expr, $what:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::fault::Fault::shape(format!(
                "{}: needs f32 or f64, got {}; cast it first",
                $what,
                other.name()
            ))),
        }
    };
}

/// Rows and columns of a matrix, or a fault.
pub fn extents_of(name: &str, a: &View) -> Result<(usize, usize)> {
    match *a.shape {
        [rows, columns] => Ok((rows, columns)),
        _ => Err(Fault::shape(format!(
            "{name}: needs a matrix, got {:?}",
            &*a.shape
        ))),
    }
}

/// Rows of a square matrix, or a fault.
pub fn square(name: &str, a: &View) -> Result<usize> {
    let (rows, columns) = extents_of(name, a)?;
    if rows == columns {
        Ok(rows)
    } else {
        Err(Fault::shape(format!(
            "{name}: needs a square matrix, got {:?}",
            &*a.shape
        )))
    }
}

/// The matrix with its axes exchanged, on the same buffer.
pub fn transposed(a: &View) -> Result<View> {
    let (shape, strides) = ([a.shape[1], a.shape[0]], [a.strides[1], a.strides[0]]);
    Ok(View {
        shape: Dims::new(&shape)?,
        strides: Dims::new(&strides)?,
        ..a.clone()
    })
}

/// A column-major copy, kept as the row-major transpose.
pub fn columns_of(a: &View) -> Result<View> {
    copy::copy(&transposed(a)?)
}

/// The row-major matrix whose columns `columns` holds.
pub fn from_columns(columns: &View) -> Result<View> {
    copy::copy(&transposed(columns)?)
}

/// The matrix whose columns are the rows of `columns`.
pub fn matrix_mut<T: Number>(columns: &View) -> Result<MatMut<'_, T>> {
    let (width, height) = (columns.shape[0], columns.shape[1]);
    Ok(MatMut::from_column_major_slice_mut(
        columns.slice_mut::<T>()?,
        height,
        width,
    ))
}

/// A view for reading, with its strides.
pub fn matrix<T: Number>(a: &View) -> Result<MatRef<'_, T>> {
    let tail = a.tail::<T>()?;
    let (rows, columns) = (a.shape[0], a.shape[1]);
    // SAFETY: the strides were checked against the buffer when the view was made.
    Ok(unsafe {
        MatRef::from_raw_parts(
            tail.as_ptr(),
            rows,
            columns,
            a.strides[0] as isize,
            a.strides[1] as isize,
        )
    })
}

/// The fault for a routine that has no result; `pivot` words what a bad pivot means.
pub fn failed(
    failure: Failure,
    pivot: impl FnOnce(usize) -> String,
    diverged: impl FnOnce() -> String,
) -> Fault {
    match failure {
        Failure::Memory(bytes) => Fault::memory(bytes),
        Failure::Pivot(index) => Fault::numerical(pivot(index)),
        Failure::NoConvergence => Fault::numerical(diverged()),
    }
}

/// Stops before a long step where the work was called off.
pub fn unless_aborted() -> Result<()> {
    if parallel::aborted() {
        Err(Fault::aborted())
    } else {
        Ok(())
    }
}

/// A fault unless all numbers are finite; `used(row, column)` says which of them matter.
pub fn finite<T: Number>(name: &str, a: MatRef<'_, T>, used: impl Fn(usize, usize) -> bool) -> Result<()> {
    for row in 0..a.nrows() {
        for column in 0..a.ncols() {
            let value = crate::dtype::num::Float::to_f64(a[(row, column)]);
            if !value.is_finite() && used(row, column) {
                return Err(Fault::numerical(format!(
                    "{name}: needs finite numbers, got {value} at [{row}, {column}]"
                )));
            }
        }
    }
    Ok(())
}

/// Makes the entry of largest magnitude of each column positive; of equal ones the first decides. `flipped` hears
/// of the columns that changed their sign.
pub fn fix_signs<T: Number>(columns: &mut [T], height: usize, mut flipped: impl FnMut(usize)) {
    use crate::dtype::num::Float;
    for (index, column) in columns.chunks_mut(height.max(1)).enumerate() {
        let largest = column.iter().fold(0.0f64, |best, v| {
            let value = Float::to_f64(*v);
            if value.abs() > best.abs() { value } else { best }
        });
        if largest < 0.0 {
            column.iter_mut().for_each(|v| *v = -*v);
            flipped(index);
        }
    }
}

/// The dtype of two operands, or a fault where they differ.
pub fn same_type(name: &str, a: &View, b: &View) -> Result<DType> {
    if a.dtype == b.dtype {
        return Ok(a.dtype);
    }
    Err(Fault::shape(format!(
        "{name}: needs one number type, got {} and {}",
        a.dtype.name(),
        b.dtype.name()
    )))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::dtype::num::Float;
    use crate::random::{Stream, random};
    use crate::{cholesky, matmul, orthogonal, solve};

    pub fn normal(dtype: DType, rows: usize, columns: usize) -> View {
        random("normal", dtype, &[rows, columns], Stream { key: 7, counter: 0 }).unwrap()
    }

    pub fn times(a: &View, b: &View) -> View {
        matmul::matmul(a, b, None, matmul::Activation::None, None).unwrap()
    }

    /// x x^T + n, well conditioned.
    pub fn definite(dtype: DType, n: usize) -> View {
        let x = normal(dtype, n, n);
        let a = times(&x, &transposed(&x).unwrap());
        match dtype {
            DType::F32 => lift(a.slice_mut::<f32>().unwrap(), n),
            _ => lift(a.slice_mut::<f64>().unwrap(), n),
        }
        a
    }

    fn lift<T: Number>(a: &mut [T], n: usize) {
        (0..n).for_each(|i| a[i * n + i] += <T as Float>::from_f64(n as f64));
    }

    pub fn values(a: &View) -> Vec<f64> {
        copy::cast(a, DType::F64)
            .unwrap()
            .slice::<f64>()
            .unwrap()
            .to_vec()
    }

    /// The largest difference between two matrices, over the largest entry of the second.
    pub fn distance(a: &View, b: &View) -> f64 {
        let largest = values(b).iter().fold(0.0f64, |m, v| m.max(v.abs()));
        values(a)
            .iter()
            .zip(values(b))
            .fold(0.0f64, |m, (x, y)| m.max((x - y).abs()))
            / largest
    }

    #[test]
    fn every_number_of_threads_gives_the_same_bits() {
        for dtype in [DType::F32, DType::F64] {
            for n in [64, 300, 700, 1100] {
                let (a, general, tall) = (definite(dtype, n), normal(dtype, n, n), normal(dtype, n, n / 2));
                let triangle = solve::Triangle {
                    lower: true,
                    transpose: false,
                    unit: false,
                };
                let all = |threads: usize| {
                    parallel::set_threads(threads).unwrap();
                    let l = cholesky::cholesky(&a).unwrap();
                    let (q, r) = orthogonal::qr(&tall).unwrap();
                    let (u, s, vt) = orthogonal::svd(&tall).unwrap();
                    let (w, v) = orthogonal::eigh(&a).unwrap();
                    let parts = [
                        cholesky::cholesky_inverse(&l).unwrap(),
                        solve::triangular_solve(&l, &general, triangle).unwrap(),
                        solve::solve(&general, &tall).unwrap(),
                        l,
                        q,
                        r,
                        u,
                        s,
                        vt,
                        w,
                        v,
                    ];
                    parts.map(|part| part.bytes().unwrap().to_vec())
                };
                let one = all(1);
                for threads in [2, 3] {
                    for (index, (a, b)) in one.iter().zip(all(threads)).enumerate() {
                        assert!(
                            *a == b,
                            "result {index} of {} {n} differs on {threads} threads",
                            dtype.name()
                        );
                    }
                }
            }
        }
    }
}
