//! The factor of an inverse Hessian that the column sweep reads.
//!
//!   H^-1 = U^T U with U upper. With J the reversal of the order and J H J = L L^T, U = J L^-1 J,
//!   so that U^T = J (L^-1)^T J, one Cholesky factor and one triangular inverse.

use crate::arena::{View, view};
use crate::copy;
use crate::definite;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::matrices::unless_aborted;
use crate::parallel;
use napi_derive::napi;

#[napi(object)]
pub struct InverseFactor {
    /// U transposed, [n, n] in the order of the sweep; absent where the damped matrix has no Cholesky factor.
    pub factor: Option<u32>,
    /// Inputs whose diagonal is 0; it counts as 1.
    pub dead: Vec<u32>,
}

/// `order` names the column of the weight at each position of the sweep; `damping` times the mean of the diagonal
/// is added to it.
pub fn inverse_factor(gram: &View, order: Option<&[u32]>, damping: f64) -> Result<(Option<View>, Vec<u32>)> {
    let n = match *gram.shape {
        [rows, columns] if rows == columns => rows,
        _ => {
            return Err(Fault::shape(format!(
                "inverseFactor: needs a square matrix, got {:?}",
                &*gram.shape
            )));
        }
    };
    if let Some(order) = order
        && (order.len() != n || order.iter().any(|&column| column as usize >= n))
    {
        return Err(Fault::shape(format!(
            "inverseFactor: the order must name {n} columns"
        )));
    }
    let h = gram.slice::<f64>()?;
    if let Some(bad) = h.iter().position(|value| !value.is_finite()) {
        return Err(Fault::numerical(format!(
            "inverseFactor: entry {bad} of the Gram matrix is not finite"
        )));
    }
    let diagonal = |column: usize| {
        if h[column * n + column] == 0.0 {
            1.0
        } else {
            h[column * n + column]
        }
    };
    let dead = (0..n)
        .filter(|&column| h[column * n + column] == 0.0)
        .map(|column| column as u32)
        .collect();
    let added = damping * (0..n).map(diagonal).sum::<f64>() / n.max(1) as f64;
    let place = |position: usize| order.map_or(n - 1 - position, |order| order[n - 1 - position] as usize);
    // Symmetric, so that rows and columns need not be told apart.
    let work = View::empty(DType::F64, &[n, n])?;
    parallel::chunks(work.slice_mut::<f64>()?, n, |start, row| {
        let i = start / n.max(1);
        let source = place(i);
        for (j, value) in row.iter_mut().enumerate() {
            *value = if i == j {
                diagonal(source) + added
            } else {
                h[source * n + place(j)]
            };
        }
    })?;
    unless_aborted()?;
    let lower = work.slice_mut::<f64>()?;
    if !definite::factor(lower, n)? {
        return Ok((None, dead));
    }
    unless_aborted()?;
    definite::invert_triangle(lower, n, n)?;
    // U^T at (i, j) is L^-1 at (n - 1 - j, n - 1 - i).
    let out = View::empty(DType::F64, &[n, n])?;
    let inverse = work.slice::<f64>()?;
    parallel::chunks(out.slice_mut::<f64>()?, n, |start, row| {
        let i = start / n.max(1);
        for (j, value) in row.iter_mut().enumerate() {
            *value = if j <= i {
                inverse[(n - 1 - j) * n + (n - 1 - i)]
            } else {
                0.0
            };
        }
    })?;
    Ok((Some(out), dead))
}

/// gram f64 [n, n]; the factor comes in the number type of `dtype`.
#[napi(js_name = "inverseFactor")]
pub fn inverse_factor_border(
    gram: u32,
    order: Option<u32>,
    damping: f64,
    dtype: u32,
) -> js::Result<InverseFactor> {
    border(|| {
        let gram = copy::contiguous(&view(gram)?)?;
        let order = order.map(|o| copy::contiguous(&view(o)?)).transpose()?;
        let order = order.as_ref().map(View::slice::<u32>).transpose()?;
        let (factor, dead) = inverse_factor(&gram, order, damping)?;
        let factor = factor
            .map(|f| copy::cast(&f, DType::from_code(dtype)?))
            .transpose()?;
        Ok(InverseFactor {
            factor: factor.map(View::into_handle),
            dead,
        })
    })
}
