//! The inverse of the Cholesky factor of a positive definite matrix, in f64 over the blocked product. Sums run in an
//! order that the extent alone decides.

use crate::arena::View;
use crate::dtype::DType;
use crate::fault::Result;
use crate::micro_tiles::{Sums, Wanted, lower_tiles};
use crate::packing::Operand;
use crate::panel::{Panel, Side};
use crate::parallel::{self, Shared};
use crate::product::product;

/// Extent of what is factored or inverted without the product.
const BLOCK: usize = 64;

/// Overwrites the lower triangle of a, row-major [n, n], by L with a = L L^T; the rest keeps what it held. False
/// where a pivot is not positive.
pub fn factor(a: &mut [f64], n: usize) -> Result<bool> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (above, below) = a.split_at_mut(end * n);
        if !factor_block(&mut above[start * n..], n, start, end) {
            return Ok(false);
        }
        if !below.is_empty() {
            solve_below(&above[start * n + start..], below, n, start, end)?;
            subtract_square(below, n, start, end)?;
        }
    }
    Ok(true)
}

/// Factors the block on the diagonal; `rows` begins with its first row.
fn factor_block(rows: &mut [f64], n: usize, start: usize, end: usize) -> bool {
    for i in 0..end - start {
        let (before, row) = rows.split_at_mut(i * n);
        let row = &mut row[start..end];
        for j in 0..i {
            let other = &before[j * n + start..][..j + 1];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

/// X with X L^T = what stands below a factored block L, through L^-1.
fn solve_below(block: &[f64], below: &mut [f64], n: usize, start: usize, end: usize) -> Result<()> {
    let (rows, size) = (below.len() / n, end - start);
    let mut inverse = vec![0.0; size * size];
    for row in 0..size {
        inverse[row * size..][..row + 1].copy_from_slice(&block[row * n..][..row + 1]);
    }
    invert_small(&mut inverse, size, size);
    let solved = View::empty(DType::F64, &[rows, size])?;
    let side = |numbers, lanes, lane_stride| Side {
        numbers,
        operand: Operand {
            lanes,
            depth: size,
            lane_stride,
            depth_stride: 1,
        },
        batches: &[0],
    };
    let out = solved.slice_mut::<f64>()?;
    product(
        side(&below[start..], rows, n),
        side(&inverse, size, size),
        out,
        |_, _, _| {},
    )?;
    for (row, line) in below.chunks_exact_mut(n).zip(out.chunks_exact(size)) {
        row[start..end].copy_from_slice(line);
    }
    Ok(())
}

crate::simd! {
    fn dot(x: &[f64], y: &[f64]) -> f64 {
        let mut sums = [0.0; 16];
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
        for (x, y) in x.iter().zip(y) {
            for lane in 0..16 {
                sums[lane] += x[lane] * y[lane];
            }
        }
        let mut total = 0.0;
        for sum in sums {
            total += sum;
        }
        for (x, y) in x_rest.iter().zip(y_rest) {
            total += x * y;
        }
        total
    }
}

/// Subtracts P P^T from the lower triangle right of column `end`; P is columns start .. end of `rows`, which begin
/// at row `end` of the matrix.
fn subtract_square(rows: &mut [f64], n: usize, start: usize, end: usize) -> Result<()> {
    let lanes = n - end;
    if lanes == 0 {
        return Ok(());
    }
    let operand = Operand {
        lanes,
        depth: end - start,
        lane_stride: n,
        depth_stride: 1,
    };
    let shape = <f64 as crate::micro_kernel::Micro>::tile_shape();
    let panels = (
        Panel::new::<f64>(lanes, operand.depth, shape.height)?,
        Panel::new::<f64>(lanes, operand.depth, shape.width)?,
    );
    panels.0.fill(&rows[start..], operand)?;
    panels.1.fill(&rows[start..], operand)?;
    let (left, right) = (panels.0.numbers::<f64>()?, panels.1.numbers::<f64>()?);
    let tiles = lower_tiles::<f64>(lanes);
    let target = Shared(rows.as_mut_ptr());
    parallel::tasks(tiles.len(), |task| {
        let sums = Sums::of((left, right, operand.depth), tiles[task], Wanted::Lower);
        sums.pieces(|i, column, sums| {
            let below = (i + 1).saturating_sub(column).min(sums.len());
            // SAFETY: row i, columns up to its diagonal, of a tile that belongs to this task alone.
            let line =
                unsafe { std::slice::from_raw_parts_mut(target.get().add(i * n + end + column), below) };
            line.iter_mut().zip(sums).for_each(|(x, &sum)| *x -= sum);
        });
    })
}

/// Overwrites the lower triangle L of a, row-major with `stride` numbers a row, by its inverse: of the halves
/// [A 0; B C] it is [A^-1 0; -C^-1 B A^-1, C^-1].
pub fn invert_triangle(a: &mut [f64], n: usize, stride: usize) -> Result<()> {
    if n <= BLOCK {
        invert_small(a, n, stride);
        return Ok(());
    }
    let half = (n / 2).next_multiple_of(8);
    let rest = n - half;
    let corner = half * stride + half;
    invert_triangle(a, half, stride)?;
    invert_triangle(&mut a[corner..], rest, stride)?;
    // The upper triangles hold other things than zeros, which the products must see.
    let first = lower_copy(a, half, stride)?;
    let second = lower_copy(&a[corner..], rest, stride)?;
    let (between, whole) = (
        View::empty(DType::F64, &[rest, half])?,
        View::empty(DType::F64, &[rest, half])?,
    );
    let (first, second) = (first.slice::<f64>()?, second.slice::<f64>()?);
    multiply(
        (&a[half * stride..], stride),
        (first, half),
        (rest, half, half),
        between.slice_mut()?,
    )?;
    multiply(
        (second, rest),
        (between.slice()?, half),
        (rest, rest, half),
        whole.slice_mut()?,
    )?;
    let whole = whole.slice::<f64>()?;
    for (row, line) in whole.chunks_exact(half).enumerate() {
        let target = &mut a[(half + row) * stride..][..half];
        target.iter_mut().zip(line).for_each(|(x, &value)| *x = -value);
    }
    Ok(())
}

/// out = left right, with `left` [m, k] and `right` [k, n] row-major at their strides.
fn multiply(
    (left, left_stride): (&[f64], usize),
    (right, right_stride): (&[f64], usize),
    (m, k, n): (usize, usize, usize),
    out: &mut [f64],
) -> Result<()> {
    let side = |numbers, lanes, lane_stride, depth_stride| Side {
        numbers,
        operand: Operand {
            lanes,
            depth: k,
            lane_stride,
            depth_stride,
        },
        batches: &[0],
    };
    product(
        side(left, m, left_stride, 1),
        side(right, n, 1, right_stride),
        out,
        |_, _, _| {},
    )
}

/// A lower triangle with zeros above it, packed.
fn lower_copy(a: &[f64], n: usize, stride: usize) -> Result<View> {
    let copy = View::empty(DType::F64, &[n, n])?;
    for (row, line) in copy.slice_mut::<f64>()?.chunks_exact_mut(n).enumerate() {
        line[..row + 1].copy_from_slice(&a[row * stride..][..row + 1]);
        line[row + 1..].fill(0.0);
    }
    Ok(copy)
}

/// Forward substitution, row by row: row i of the inverse is (e_i - sum of L_ij times row j) / L_ii.
fn invert_small(a: &mut [f64], n: usize, stride: usize) {
    let mut sums = [0.0; BLOCK];
    for i in 0..n {
        let (before, row) = a.split_at_mut(i * stride);
        sums[..i].fill(0.0);
        for j in 0..i {
            add_scaled(&mut sums[..j + 1], row[j], &before[j * stride..][..j + 1]);
        }
        let pivot = 1.0 / row[i];
        for (x, sum) in row.iter_mut().zip(&sums[..i]) {
            *x = -sum * pivot;
        }
        row[i] = pivot;
    }
}

crate::simd! {
    fn add_scaled(sums: &mut [f64], factor: f64, x: &[f64]) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += factor * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B B^T + n I for some B.
    fn definite(n: usize) -> Vec<f64> {
        let b = |i: usize, j: usize| ((i * 31 + j * 17) % 23) as f64 / 23.0 - 0.5;
        let entry = |i: usize, j: usize| (0..n).map(|k| b(i, k) * b(j, k)).sum::<f64>();
        (0..n * n)
            .map(|at| entry(at / n, at % n) + if at / n == at % n { n as f64 } else { 0.0 })
            .collect()
    }

    #[test]
    fn the_factor_multiplies_back_and_its_inverse_undoes_it() {
        for n in [1, 5, 96, 97, 250] {
            let a = definite(n);
            let mut l = a.clone();
            assert!(factor(&mut l, n).unwrap());
            let mut inverse = l.clone();
            invert_triangle(&mut inverse, n, n).unwrap();
            for i in 0..n {
                for j in 0..=i {
                    let back: f64 = (0..=j).map(|k| l[i * n + k] * l[j * n + k]).sum();
                    assert!((back - a[i * n + j]).abs() < 1e-12 * n as f64 * n as f64);
                    let unit: f64 = (j..=i).map(|k| l[i * n + k] * inverse[k * n + j]).sum();
                    assert!((unit - if i == j { 1.0 } else { 0.0 }).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_definite_has_no_factor() {
        let mut a = definite(120);
        a[110 * 120 + 110] = -1.0;
        assert!(!factor(&mut a, 120).unwrap());
        let mut a = definite(3);
        a[0] = f64::NAN;
        assert!(!factor(&mut a, 3).unwrap());
    }
}
