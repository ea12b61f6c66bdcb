//! Linear systems with triangular and with general matrices.

use crate::arena::{View, view};
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::matrices::{
    Number, columns_of, extents_of, failed, finite, from_columns, matrix, matrix_mut, parts, same_type,
    square, unless_aborted,
};
use crate::{parallel, with_number};
use napi_derive::napi;

/// How a triangular matrix is read.
#[derive(Clone, Copy)]
pub struct Triangle {
    pub lower: bool,
    pub transpose: bool,
    /// The diagonal counts as ones.
    pub unit: bool,
}

fn agree(name: &str, a: &View, b: &View) -> Result<usize> {
    let n = square(name, a)?;
    same_type(name, a, b)?;
    if extents_of(name, b)?.0 != n {
        let (a, b) = (&*a.shape, &*b.shape);
        return Err(Fault::shape(format!(
            "{name}: a [n, n] and b [n, columns] must agree, got {a:?} and {b:?}"
        )));
    }
    Ok(n)
}

/// x with op(a) x = b.
pub fn triangular_solve(a: &View, b: &View, triangle: Triangle) -> Result<View> {
    agree("triangularSolve", a, b)?;
    with_number!(a.dtype, "triangularSolve", T => solve_triangle::<T>(a, b, triangle))
}

fn solve_triangle<T: Number>(
    a: &View,
    b: &View,
    Triangle {
        lower,
        transpose,
        unit,
    }: Triangle,
) -> Result<View> {
    const NAME: &str = "triangularSolve";
    let read = matrix::<T>(a)?;
    finite(NAME, read, |row, column| {
        if row == column {
            !unit
        } else {
            (column < row) == lower
        }
    })?;
    finite(NAME, matrix::<T>(b)?, |_, _| true)?;
    if !unit && let Some(index) = (0..a.shape[0]).find(|&i| Float::to_f64(read[(i, i)]) == 0.0) {
        return Err(Fault::numerical(format!(
            "{NAME}: entry {index} of the diagonal is 0; the matrix is singular"
        )));
    }
    unless_aborted()?;
    let work = columns_of(b)?;
    if work.is_empty() {
        return from_columns(&work);
    }
    let read = if transpose { read.transpose() } else { read };
    let target = matrix_mut::<T>(&work)?;
    let shape = pare_dense::Triangle {
        lower: lower != transpose,
        unit,
    };
    parallel::install(|| T::solve_triangle(read, target, shape, parts()))?;
    from_columns(&work)
}

/// x with a x = b, by LU with row exchanges.
pub fn solve(a: &View, b: &View) -> Result<View> {
    let n = agree("solve", a, b)?;
    with_number!(a.dtype, "solve", T => solve_general::<T>(a, b, n))
}

fn solve_general<T: Number>(a: &View, b: &View, n: usize) -> Result<View> {
    finite("solve", matrix::<T>(a)?, |_, _| true)?;
    finite("solve", matrix::<T>(b)?, |_, _| true)?;
    unless_aborted()?;
    let (copied, work) = (columns_of(a)?, columns_of(b)?);
    if work.is_empty() {
        return from_columns(&work);
    }
    let (factors, target) = (matrix_mut::<T>(&copied)?, matrix_mut::<T>(&work)?);
    parallel::install(|| T::solve(factors, target, parts()))?.map_err(|failure| {
        failed(
            failure,
            |index| format!("solve: pivot {index} of {n} is 0; the matrix is singular"),
            String::new,
        )
    })?;
    from_columns(&work)
}

#[napi(js_name = "triangularSolve")]
pub fn triangular_solve_border(a: u32, b: u32, lower: bool, transpose: bool, unit: bool) -> js::Result<u32> {
    border(|| {
        Ok(triangular_solve(
            &view(a)?,
            &view(b)?,
            Triangle {
                lower,
                transpose,
                unit,
            },
        )?
        .into_handle())
    })
}

#[napi(js_name = "solve")]
pub fn solve_border(a: u32, b: u32) -> js::Result<u32> {
    border(|| Ok(solve(&view(a)?, &view(b)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::matrices::tests::{distance, normal, times};
    use crate::matrices::transposed;

    fn matrix_of(rows: usize, columns: usize, values: &[f64]) -> View {
        let a = View::zeros(DType::F64, &[rows, columns]).unwrap();
        a.slice_mut::<f64>().unwrap().copy_from_slice(values);
        a
    }

    #[test]
    fn triangles_are_read_as_told() {
        // 9s stand where nothing may be read.
        let b = matrix_of(2, 1, &[2.0, 7.0]);
        let solved = |values: &[f64], lower, transpose, unit| {
            let x = triangular_solve(
                &matrix_of(2, 2, values),
                &b,
                Triangle {
                    lower,
                    transpose,
                    unit,
                },
            )
            .unwrap();
            x.slice::<f64>().unwrap().to_vec()
        };
        assert_eq!(solved(&[2.0, 9.0, 3.0, 4.0], true, false, false), [1.0, 1.0]);
        assert_eq!(solved(&[9.0, 9.0, 3.0, 9.0], true, false, true), [2.0, 1.0]);
        assert_eq!(solved(&[2.0, 3.0, 9.0, 4.0], false, true, false), [1.0, 1.0]);
        assert_eq!(solved(&[2.0, -4.0, 9.0, 7.0], false, false, false), [3.0, 1.0]);
        let singular = triangular_solve(
            &matrix_of(2, 2, &[1.0, 0.0, 1.0, 0.0]),
            &b,
            Triangle {
                lower: true,
                transpose: false,
                unit: false,
            },
        );
        assert_eq!(singular.err().unwrap().code, "PARE_E_NUMERICAL");
    }

    #[test]
    fn a_solution_multiplies_back_and_a_singular_matrix_is_refused() {
        let (a, x) = (normal(DType::F64, 150, 150), normal(DType::F64, 150, 7));
        let got = solve(&a, &times(&a, &x)).unwrap();
        // A random matrix of this size has a condition near 1e3.
        assert!(distance(&got, &x) < 1e-9);
        let turned = solve(&transposed(&a).unwrap(), &times(&transposed(&a).unwrap(), &x)).unwrap();
        assert!(distance(&turned, &x) < 1e-9);
        let fault = solve(
            &matrix_of(2, 2, &[1.0, 2.0, 2.0, 4.0]),
            &matrix_of(2, 1, &[1.0, 1.0]),
        )
        .err()
        .unwrap();
        assert!(fault.message.contains("singular"), "{}", fault.message);
    }
}
