//! The product with columns that have level counts of their own, from codes in planes: a step is the range of its row times a
//! factor of its column, which goes to the input.
//!
//!   y = r (sum over planes of (code - middle) f x - sum over counts N of (zero_N - centre_N) t_N) + 4 m t_c
//!
//!   r   high - low of the row      zero_N   round(-low / (r / (N - 1)))      m   (low + high) / 2
//!   t_N   sum of f x over the columns of N levels; t_c of those that are centred around m, whose f is 1/4

use crate::affine_grid::round_even;
use crate::arena::View;
use crate::dtype::DType;
use crate::fault::{Fault, Result};
use crate::packed_product::binding::checked;
use crate::packed_product::{Activations, Form, Product, multiply};
use crate::parallel::{self, Shared};
use crate::{indices, simd};

/// Outputs of one task.
const CHUNK: usize = 512;

struct Plane {
    form: Form,
    bytes: View,
    /// Places of a row.
    places: usize,
}

struct Levels<'a> {
    planes: Vec<Plane>,
    /// Column of each place of all planes, and what its input is multiplied by.
    columns: &'a [u32],
    factors: &'a [f32],
    /// Which total each place counts for: that of a count, behind them the centred ones, behind those none.
    groups: &'a [u16],
    counts: &'a [u16],
    lows: &'a [f32],
    highs: &'a [f32],
}

/// Where codes of so many levels have their middle, once they are raised to lie around that of a plane.
fn centre_of(count: u16) -> f32 {
    let half = f32::from(count / 2);
    if count.is_multiple_of(2) {
        half - 0.5
    } else {
        half + 0.5
    }
}

simd! {
    /// Zeros of rows in columns of `count` levels, less their centre; a range of nothing has none.
    fn zeros_of(lows: &[f32], highs: &[f32], count: u16, out: &mut [f32]) {
        let (steps, centre) = (f32::from(count - 1), centre_of(count));
        for ((out, low), high) in out.iter_mut().zip(lows).zip(highs) {
            let range = high - low;
            let zero = round_even(-low / (range / steps)) - centre;
            *out = if range > 0.0 { zero } else { 0.0 };
        }
    }
}

simd! {
    fn take_off(y: &mut [f32], zeros: &[f32], total: f32) {
        for (y, zero) in y.iter_mut().zip(zeros) {
            *y -= zero * total;
        }
    }
}

simd! {
    fn scale(y: &mut [f32], lows: &[f32], highs: &[f32], centred: f32) {
        for ((y, low), high) in y.iter_mut().zip(lows).zip(highs) {
            *y = (high - low) * *y + (low + high) * 0.5 * (4.0 * centred);
        }
    }
}

impl Levels<'_> {
    /// f x of the places from `first` on, [m, places].
    fn placed(&self, x: &[f32], inputs: usize, first: usize, places: usize) -> Result<Vec<f32>> {
        let own = first..first + places;
        let (columns, factors) = (&self.columns[own.clone()], &self.factors[own]);
        let mut out = vec![0.0; x.len() / inputs * places];
        parallel::chunks(&mut out, places, |start, out| {
            let x = &x[start / places * inputs..][..inputs];
            for ((out, &column), factor) in out.iter_mut().zip(columns).zip(factors) {
                *out = x[column as usize] * factor;
            }
        })?;
        Ok(out)
    }

    /// Adds up what counts for each total, [m, counts and one].
    fn count(&self, placed: &[f32], first: usize, places: usize, totals: &mut [f64]) -> Result<()> {
        let kinds = self.counts.len() + 1;
        let groups = &self.groups[first..first + places];
        parallel::chunks(totals, kinds, |start, totals| {
            for (x, &group) in placed[start / kinds * places..].iter().zip(groups) {
                if let Some(total) = totals.get_mut(usize::from(group)) {
                    *total += f64::from(*x);
                }
            }
        })
    }

    /// out [m, rows] from x [m, inputs].
    fn multiply(&self, x: &[f32], inputs: usize, activations: Activations, out: &mut [f32]) -> Result<()> {
        let (many, rows) = (x.len() / inputs, self.lows.len());
        let kinds = self.counts.len() + 1;
        let mut totals = vec![0.0; many * kinds];
        let mut part = Vec::new();
        let mut first = 0;
        for (index, Plane { form, bytes, places }) in self.planes.iter().enumerate() {
            let placed = self.placed(x, inputs, first, *places)?;
            self.count(&placed, first, *places, &mut totals)?;
            let weight = checked(*form, bytes, *places, None)?;
            if index == 0 {
                multiply(
                    &mut [Product {
                        weight,
                        bias: None,
                        out,
                    }],
                    &placed,
                    activations,
                )?;
            } else {
                part.resize(out.len(), 0.0);
                let product = Product {
                    weight,
                    bias: None,
                    out: &mut part,
                };
                multiply(&mut [product], &placed, activations)?;
                parallel::chunks(out, parallel::SMALL, |start, out| {
                    out.iter_mut()
                        .zip(&part[start..])
                        .for_each(|(y, part)| *y += part);
                })?;
            }
            first += places;
        }
        let y = Shared(out.as_mut_ptr());
        parallel::tasks(rows.div_ceil(CHUNK), |task| {
            let own = task * CHUNK..((task + 1) * CHUNK).min(rows);
            let (lows, highs) = (&self.lows[own.clone()], &self.highs[own.clone()]);
            // SAFETY: these outputs of each row belong to this task alone.
            let line = |m: usize| unsafe {
                std::slice::from_raw_parts_mut(y.get().add(m * rows + own.start), own.len())
            };
            let mut zeros = [0.0; CHUNK];
            let zeros = &mut zeros[..own.len()];
            for (group, &count) in self.counts.iter().enumerate() {
                zeros_of(lows, highs, count, zeros);
                (0..many).for_each(|m| take_off(line(m), zeros, totals[m * kinds + group] as f32));
            }
            (0..many).for_each(|m| scale(line(m), lows, highs, totals[m * kinds + kinds - 1] as f32));
        })
    }
}

/// A weight by its tensors.
pub struct LevelWeight {
    /// Number of the form and bytes u8 [rows, bytes of a row] of each plane.
    pub planes: Vec<(u32, View)>,
    /// Of each place of all planes: column u32, factor f32, and total u16.
    pub columns: View,
    pub factors: View,
    pub groups: View,
    /// u16, above 1
    pub counts: View,
    /// f32 [rows]
    pub lows: View,
    pub highs: View,
}

/// x f32 [m, in]. Result f32 [m, rows].
pub fn product(weight: &LevelWeight, x: &View, activations: Activations) -> Result<View> {
    let &[many, inputs] = &*x.shape else {
        return Err(Fault::shape("levelProduct: inputs have two axes"));
    };
    let planes = weight
        .planes
        .iter()
        .map(|(form, bytes)| plane_of(*form, bytes.clone()));
    let all = Levels {
        planes: planes.collect::<Result<_>>()?,
        columns: indices::checked("levelProduct", &weight.columns, inputs)?,
        factors: weight.factors.slice()?,
        groups: weight.groups.slice()?,
        counts: weight.counts.slice()?,
        lows: weight.lows.slice()?,
        highs: weight.highs.slice()?,
    };
    let rows = all.lows.len();
    let places: usize = all.planes.iter().map(|plane| plane.places).sum();
    let fits = [all.columns.len(), all.factors.len(), all.groups.len()] == [places; 3]
        && all.highs.len() == rows
        && !all.planes.is_empty()
        && all.planes.iter().all(|plane| plane.bytes.shape[0] == rows)
        && all.counts.iter().all(|&count| count > 1);
    if !fits {
        return Err(Fault::shape(format!(
            "levelProduct: planes of {places} places and {rows} rows do not fit {} columns, {} factors, {} totals and {} highs",
            all.columns.len(),
            all.factors.len(),
            all.groups.len(),
            all.highs.len()
        )));
    }
    let out = View::empty(DType::F32, &[many, rows])?;
    if !out.is_empty() {
        all.multiply(x.slice()?, inputs, activations, out.slice_mut()?)?;
    }
    Ok(out)
}

fn plane_of(form: u32, bytes: View) -> Result<Plane> {
    let form = Form::from_code(form).ok_or_else(|| Fault::shape("levelProduct: no form has this number"))?;
    let &[_, row_bytes] = &*bytes.shape else {
        return Err(Fault::shape("levelProduct: bytes have two axes"));
    };
    let places = row_bytes / form.block_bytes() * form.block_len();
    Ok(Plane { form, bytes, places })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level_packing::step_of;

    #[test]
    fn zeros_and_ends_are_those_of_the_stored_levels() {
        let (lows, highs) = ([-1.0, 0.0, -0.5, 0.0, -3.0], [1.0, 2.0, 0.0, 0.0, 0.25]);
        for count in [2, 3, 5, 16, 100, 256] {
            let mut zeros = [9.0; 5];
            zeros_of(&lows, &highs, count, &mut zeros);
            for row in [0, 1, 2, 4] {
                let (_, zero) = step_of(count, lows[row], highs[row]);
                assert_eq!(zeros[row], zero - centre_of(count));
            }
            assert_eq!(zeros[3], 0.0);
        }
        let mut y = [1.0, 2.0, 3.0, 4.0, 5.0];
        scale(&mut y, &lows, &highs, 0.5);
        assert_eq!(y, [2.0, 6.0, 1.0, 0.0, 13.5]);
    }

    #[test]
    fn the_centre_is_in_the_middle_of_raised_codes() {
        for count in 2..=256u16 {
            for bits in 1..=8 {
                let room = 1i32 << bits;
                if i32::from(count) <= room {
                    let raise = (room - i32::from(count)) / 2;
                    assert_eq!(centre_of(count) + raise as f32, (room - 1) as f32 / 2.0);
                }
            }
        }
    }
}
