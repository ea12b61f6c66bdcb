//! Cholesky factors of symmetric positive definite matrices, and inverses from them.

use crate::arena::{View, view};
use crate::fault::{Fault, Result, border, js};
use crate::matrices::{
    Number, columns_of, failed, finite, from_columns, matrix, matrix_mut, parts, square, unless_aborted,
};
use crate::{parallel, with_number};
use napi_derive::napi;

/// The lower factor L with a = L L^T; reads the lower triangle of a.
pub fn cholesky(a: &View) -> Result<View> {
    let n = square("cholesky", a)?;
    with_number!(a.dtype, "cholesky", T => lower_factor::<T>(a, n))
}

fn lower_factor<T: Number>(a: &View, n: usize) -> Result<View> {
    finite("cholesky", matrix::<T>(a)?, |row, column| column <= row)?;
    unless_aborted()?;
    let work = columns_of(a)?;
    if n == 0 {
        return Ok(work);
    }
    let target = matrix_mut::<T>(&work)?;
    parallel::install(|| T::cholesky(target, parts()))?.map_err(|failure| {
        let pivot = |index| format!("cholesky: pivot {index} of {n} is not positive; the matrix is not positive definite: add to its diagonal");
        failed(failure, pivot, String::new)
    })?;
    for (column, values) in work.slice_mut::<T>()?.chunks_mut(n).enumerate() {
        values[..column].fill(<T as crate::dtype::num::Float>::ZERO);
    }
    from_columns(&work)
}

/// (L L^T)^-1, both triangles, from the lower factor L.
pub fn cholesky_inverse(l: &View) -> Result<View> {
    let n = square("choleskyInverse", l)?;
    with_number!(l.dtype, "choleskyInverse", T => inverse_of::<T>(l, n))
}

fn inverse_of<T: Number>(l: &View, n: usize) -> Result<View> {
    use crate::dtype::num::Float;
    let lower = matrix::<T>(l)?;
    finite("choleskyInverse", lower, |row, column| column <= row)?;
    if let Some(index) = (0..n).find(|&i| Float::to_f64(lower[(i, i)]) == 0.0) {
        return Err(Fault::numerical(format!(
            "choleskyInverse: entry {index} of the diagonal is 0; the factor has no inverse"
        )));
    }
    unless_aborted()?;
    let out = View::zeros(l.dtype, &[n, n])?;
    if n == 0 {
        return Ok(out);
    }
    let copied = columns_of(l)?;
    let factor = matrix_mut::<T>(&copied)?;
    let target = matrix_mut::<T>(&out)?;
    parallel::install(|| T::cholesky_inverse(target, factor.as_ref(), parts()))?
        .map_err(|failure| failed(failure, |_| String::new(), String::new))?;
    mirror(out.slice_mut::<T>()?, n);
    Ok(out)
}

/// Copies the lower triangle of a column-major matrix to the upper one, in blocks that stay in cache. Since the
/// result is symmetric it is row-major too.
fn mirror<T: Number>(a: &mut [T], n: usize) {
    const BLOCK: usize = 32;
    for top in (0..n).step_by(BLOCK) {
        for left in (0..=top).step_by(BLOCK) {
            for column in left..(left + BLOCK).min(n) {
                for row in top.max(column + 1)..(top + BLOCK).min(n) {
                    a[row * n + column] = a[column * n + row];
                }
            }
        }
    }
}

#[napi(js_name = "cholesky")]
pub fn cholesky_border(a: u32) -> js::Result<u32> {
    border(|| Ok(cholesky(&view(a)?)?.into_handle()))
}

#[napi(js_name = "choleskyInverse")]
pub fn cholesky_inverse_border(factor: u32) -> js::Result<u32> {
    border(|| Ok(cholesky_inverse(&view(factor)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::matrices::tests::{definite, distance, times};
    use crate::matrices::transposed;

    #[test]
    fn a_factor_multiplies_back_and_its_inverse_undoes_the_matrix() {
        for (dtype, unit) in [(DType::F32, f64::from(f32::EPSILON)), (DType::F64, f64::EPSILON)] {
            for n in [1, 2, 33, 200] {
                let a = definite(dtype, n);
                let l = cholesky(&a).unwrap();
                // c n eps, with c for the largest entry of a against those of the factor.
                let bound = 4.0 * (n + 4) as f64 * unit;
                assert!(distance(&times(&l, &transposed(&l).unwrap()), &a) < bound);
                let inverse = cholesky_inverse(&l).unwrap();
                assert!(
                    distance(
                        &inverse,
                        &crate::copy::copy(&transposed(&inverse).unwrap()).unwrap()
                    ) == 0.0
                );
                assert!(distance(&times(&a, &times(&inverse, &a)), &a) < 8.0 * bound);
            }
        }
    }

    #[test]
    fn the_pivot_that_is_not_positive_is_named_and_the_upper_triangle_is_not_read() {
        let a = View::zeros(DType::F64, &[3, 3]).unwrap();
        a.slice_mut::<f64>()
            .unwrap()
            .copy_from_slice(&[4.0, f64::NAN, 9.0, 2.0, 5.0, 9.0, 0.0, 6.0, 1.0]);
        let fault = cholesky(&a).err().unwrap();
        assert_eq!(fault.code, "PARE_E_NUMERICAL");
        assert!(fault.message.contains("pivot 2 of 3"), "{}", fault.message);
        a.slice_mut::<f64>().unwrap()[8] = 13.0;
        let l = cholesky(&a).unwrap();
        assert_eq!(
            l.slice::<f64>().unwrap(),
            [2.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 2.0]
        );
        a.slice_mut::<f64>().unwrap()[3] = f64::INFINITY;
        assert_eq!(cholesky(&a).err().unwrap().code, "PARE_E_NUMERICAL");
    }
}
