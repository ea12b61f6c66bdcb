//! Thin factorisations with orthonormal factors: QR, singular values, and symmetric eigenvalues. Free signs are
//! fixed, so that equal inputs give equal outputs on every set of kernels.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::num::Float;
use crate::fault::{Result, border, js};
use crate::matrices::{
    Number, columns_of, extents_of, failed, finite, fix_signs, from_columns, matrix, matrix_mut, parts,
    square, transposed, unless_aborted,
};
use crate::{parallel, with_number};
use napi_derive::napi;

/// q [m, k] and r [k, n] with k = min(m, n); the diagonal of r is not negative.
pub fn qr(a: &View) -> Result<(View, View)> {
    let (m, n) = extents_of("qr", a)?;
    with_number!(a.dtype, "qr", T => thin_qr::<T>(a, m, n))
}

fn thin_qr<T: Number>(a: &View, m: usize, n: usize) -> Result<(View, View)> {
    let k = m.min(n);
    finite("qr", matrix::<T>(a)?, |_, _| true)?;
    unless_aborted()?;
    let r = View::zeros(a.dtype, &[k, n])?;
    // Columns of q, first those of the identity.
    let q = View::zeros(a.dtype, &[k, m])?;
    if k == 0 {
        return Ok((from_columns(&q)?, r));
    }
    let work = columns_of(a)?;
    let mut factors = matrix_mut::<T>(&work)?;
    let columns = q.slice_mut::<T>()?;
    (0..k).for_each(|i| columns[i * m + i] = <T as Float>::ONE);
    let (inner, basis) = (factors.as_mut(), matrix_mut::<T>(&q)?);
    parallel::install(|| T::qr(inner, basis, parts()))?
        .map_err(|failure| failed(failure, |_| String::new(), String::new))?;
    let rows = r.slice_mut::<T>()?;
    let columns = q.slice_mut::<T>()?;
    for (i, row) in rows.chunks_mut(n).enumerate() {
        (i..n).for_each(|j| row[j] = factors[(i, j)]);
        if row[i] < <T as Float>::ZERO {
            row[i..].iter_mut().for_each(|v| *v = -*v);
            columns[i * m..][..m].iter_mut().for_each(|v| *v = -*v);
        }
    }
    Ok((from_columns(&q)?, r))
}

/// u [m, k], s [k] descending and vt [k, n] with k = min(m, n).
pub fn svd(a: &View) -> Result<(View, View, View)> {
    let (m, n) = extents_of("svd", a)?;
    with_number!(a.dtype, "svd", T => thin_svd::<T>(a, m, n))
}

fn thin_svd<T: Number>(a: &View, m: usize, n: usize) -> Result<(View, View, View)> {
    let k = m.min(n);
    finite("svd", matrix::<T>(a)?, |_, _| true)?;
    unless_aborted()?;
    // Columns of u; the columns of v are the rows of vt.
    let (u, s, vt) = (
        View::zeros(a.dtype, &[k, m])?,
        View::zeros(a.dtype, &[k])?,
        View::zeros(a.dtype, &[k, n])?,
    );
    if k == 0 {
        return Ok((from_columns(&u)?, s, vt));
    }
    // A row-major matrix is its transpose in columns, and a^T = v s u^T.
    let rows = copy::contiguous(a)?;
    let turned = transposed(&rows)?;
    let input = matrix::<T>(&turned)?;
    let (left, right) = (matrix_mut::<T>(&vt)?, matrix_mut::<T>(&u)?);
    let values = s.slice_mut::<T>()?;
    parallel::install(|| T::svd(input, values, left, right, parts()))?.map_err(|failure| {
        failed(
            failure,
            |_| String::new(),
            || format!("svd: the values of a [{m}, {n}] matrix did not converge; try f64"),
        )
    })?;
    let rows = vt.slice_mut::<T>()?;
    fix_signs(u.slice_mut::<T>()?, m, |index| {
        rows[index * n..][..n].iter_mut().for_each(|v| *v = -*v)
    });
    Ok((from_columns(&u)?, s, vt))
}

/// Eigenvalues of a symmetric matrix, ascending, and its eigenvectors in columns; reads the lower triangle.
pub fn eigh(a: &View) -> Result<(View, View)> {
    let n = square("eigh", a)?;
    with_number!(a.dtype, "eigh", T => symmetric::<T>(a, n))
}

fn symmetric<T: Number>(a: &View, n: usize) -> Result<(View, View)> {
    finite("eigh", matrix::<T>(a)?, |row, column| column <= row)?;
    unless_aborted()?;
    let (values, vectors) = (View::zeros(a.dtype, &[n])?, View::zeros(a.dtype, &[n, n])?);
    if n == 0 {
        return Ok((values, vectors));
    }
    let copied = columns_of(a)?;
    let input = matrix_mut::<T>(&copied)?;
    let (diagonal, target) = (values.slice_mut::<T>()?, matrix_mut::<T>(&vectors)?);
    parallel::install(|| T::eigh(input.as_ref(), diagonal, target, parts()))?.map_err(|failure| {
        failed(
            failure,
            |_| String::new(),
            || format!("eigh: the values of a [{n}, {n}] matrix did not converge; try f64"),
        )
    })?;
    fix_signs(vectors.slice_mut::<T>()?, n, |_| {});
    Ok((values, from_columns(&vectors)?))
}

#[napi(js_name = "qr")]
pub fn qr_border(a: u32) -> js::Result<Vec<u32>> {
    border(|| {
        let (q, r) = qr(&view(a)?)?;
        Ok(vec![q.into_handle(), r.into_handle()])
    })
}

#[napi(js_name = "svd")]
pub fn svd_border(a: u32) -> js::Result<Vec<u32>> {
    border(|| {
        let (u, s, vt) = svd(&view(a)?)?;
        Ok(vec![u.into_handle(), s.into_handle(), vt.into_handle()])
    })
}

#[napi(js_name = "eigh")]
pub fn eigh_border(a: u32) -> js::Result<Vec<u32>> {
    border(|| {
        let (values, vectors) = eigh(&view(a)?)?;
        Ok(vec![values.into_handle(), vectors.into_handle()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::matrices::tests::{definite, distance, normal, times, values};

    const BOUND: f64 = 1e-12;

    fn scaled_columns(a: &View, by: &View) -> View {
        let out = copy::copy(a).unwrap();
        let scale = values(by);
        out.slice_mut::<f64>()
            .unwrap()
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v *= scale[i % scale.len()]);
        out
    }

    fn orthonormal(columns: &View) -> bool {
        let k = columns.shape[1];
        let gram = values(&times(&transposed(columns).unwrap(), columns));
        gram.iter()
            .enumerate()
            .all(|(i, v)| (v - if i % (k + 1) == 0 { 1.0 } else { 0.0 }).abs() < BOUND)
    }

    /// 1 where the entry of largest magnitude of each column is positive.
    fn positive(columns: &View) -> bool {
        let turned = values(&from_columns(columns).unwrap());
        turned.chunks(columns.shape[0]).all(|c| {
            c.iter()
                .fold(0.0f64, |m, &v| if v.abs() > m.abs() { v } else { m })
                > 0.0
        })
    }

    #[test]
    fn factors_multiply_back_with_fixed_signs() {
        for (m, n) in [(1, 1), (5, 3), (3, 5), (70, 70), (90, 40), (40, 130)] {
            let a = normal(DType::F64, m, n);
            let (q, r) = qr(&a).unwrap();
            assert!(distance(&times(&q, &r), &a) < BOUND && orthonormal(&q));
            let lines = values(&r);
            for (i, row) in lines.chunks(n).enumerate() {
                assert!(row[i] >= 0.0 && row[..i].iter().all(|&v| v == 0.0));
            }
            let (u, s, vt) = svd(&a).unwrap();
            assert!(distance(&times(&scaled_columns(&u, &s), &vt), &a) < BOUND);
            assert!(orthonormal(&u) && orthonormal(&from_columns(&vt).unwrap()) && positive(&u));
            assert!(values(&s).is_sorted_by(|x, y| x >= y));
        }
        let a = definite(DType::F64, 60);
        let (w, v) = eigh(&a).unwrap();
        assert!(distance(&times(&scaled_columns(&v, &w), &transposed(&v).unwrap()), &a) < BOUND);
        assert!(orthonormal(&v) && positive(&v) && values(&w).is_sorted());
    }

    #[test]
    fn a_matrix_of_zeros_has_factors_too_and_infinite_numbers_are_refused() {
        let zero = View::zeros(DType::F64, &[4, 3]).unwrap();
        let (q, _) = qr(&zero).unwrap();
        let (u, s, _) = svd(&zero).unwrap();
        assert!(orthonormal(&q) && orthonormal(&u) && values(&s) == [0.0; 3]);
        zero.slice_mut::<f64>().unwrap()[5] = f64::INFINITY;
        for code in [qr(&zero).err().unwrap().code, svd(&zero).err().unwrap().code] {
            assert_eq!(code, "PARE_E_NUMERICAL");
        }
        let odd = View::zeros(DType::F32, &[2, 2]).unwrap();
        odd.slice_mut::<f32>().unwrap()[2] = f32::NAN;
        assert_eq!(eigh(&odd).err().unwrap().code, "PARE_E_NUMERICAL");
    }
}
