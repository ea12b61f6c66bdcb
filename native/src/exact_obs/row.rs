//! One row of a weight with its own inverse Hessian, from which columns are removed one after the other:
//!
//!   e = (w_p - q) / d^(1/2),  v = M_:p / d^(1/2),  d = M_pp:    w <- w - v e,   M <- M - v v^T,   loss = e^2 / 2
//!
//! The v of up to 32 removals wait, and columns of M are corrected as they are read; then M receives them in one product of
//! its lower triangle, without the columns that are gone. So M passes through the caches once for 32 removals.

use crate::arena::View;
use crate::dtype::DType;
use crate::fault::Result;
use crate::micro_kernel::{Micro, TileShape};
use crate::micro_tiles::{Tile, multiply_tile};
use crate::packing::Operand;
use crate::panel::Panel;

/// Removals between two passes over the matrix.
pub const PENDING: usize = 32;
/// Shares of the matrix that may be gone before the rest moves together.
const SPARE: usize = 12;

/// Room for one row, used for one after the other.
pub struct Row {
    columns: usize,
    /// Numbers from one row of the matrix to the next; odd multiples of a cache line, so that columns do not meet in it.
    stride: usize,
    /// The lower triangle of M over `live`.
    matrix: View,
    panels: (Panel, Panel),
    /// v of the removals that wait, a row each.
    pending: Vec<f64>,
    waiting: usize,
    /// Columns that M is over, rising; some may be gone.
    pub live: Vec<u32>,
    pub gone: Vec<bool>,
    /// How many of `live` are gone.
    gone_count: usize,
    /// By place in `live`.
    pub weight: Vec<f64>,
    pub diagonal: Vec<f64>,
    /// Columns that share a block of M at hand: its entries (i, i - k) for k < width, by place.
    near: Vec<f64>,
    width: usize,
    vector: Vec<f64>,
    /// What became of each column, by column.
    pub decided: Vec<f64>,
    /// 0 where a column was removed, by column.
    pub kept: Vec<u8>,
}

impl Row {
    /// `width` is the number of neighbouring columns that are looked at together.
    pub fn new(columns: usize, width: usize) -> Result<Row> {
        let stride = (columns.div_ceil(8) | 1) * 8;
        let TileShape {
            height,
            width: across,
        } = f64::tile_shape();
        Ok(Row {
            columns,
            stride,
            matrix: View::empty(DType::F64, &[columns, stride])?,
            panels: (
                Panel::new::<f64>(columns, PENDING, height)?,
                Panel::new::<f64>(columns, PENDING, across)?,
            ),
            pending: vec![0.0; PENDING * stride],
            waiting: 0,
            live: Vec::with_capacity(columns),
            gone: Vec::with_capacity(columns),
            gone_count: 0,
            weight: Vec::with_capacity(columns),
            diagonal: vec![0.0; columns],
            near: vec![0.0; if width > 1 { columns * width } else { 0 }],
            width,
            vector: vec![0.0; columns],
            decided: vec![0.0; columns],
            kept: vec![1; columns],
        })
    }

    /// Begins a row of the weight with the inverse [columns, columns].
    pub fn begin(&mut self, weight: &[f64], inverse: &[f64]) -> Result<()> {
        let (n, stride) = (self.columns, self.stride);
        let matrix = self.matrix.slice_mut::<f64>()?;
        for i in 0..n {
            matrix[i * stride..][..=i].copy_from_slice(&inverse[i * n..][..=i]);
        }
        self.live.clear();
        self.live.extend(0..n as u32);
        self.gone.clear();
        self.gone.resize(n, false);
        self.gone_count = 0;
        self.weight.clear();
        self.weight.extend_from_slice(weight);
        self.decided.copy_from_slice(weight);
        self.kept.fill(1);
        self.waiting = 0;
        self.refresh()
    }

    /// Reads the entries at hand from the matrix.
    fn refresh(&mut self) -> Result<()> {
        let matrix = self.matrix.slice::<f64>()?;
        for i in 0..self.live.len() {
            let row = &matrix[i * self.stride..];
            self.diagonal[i] = if self.gone[i] { 1.0 } else { row[i] };
            if self.width > 1 {
                for k in 0..self.width.min(i + 1) {
                    self.near[i * self.width + k] = row[i - k];
                }
            }
        }
        Ok(())
    }

    /// M at (i, j), j <= i.
    #[cfg(test)]
    pub fn entry(&self, i: usize, j: usize) -> Result<f64> {
        Ok(self.matrix.slice::<f64>()?[i * self.stride + j])
    }

    /// M at (i, i - k), k < width.
    pub fn near(&self, i: usize, k: usize) -> f64 {
        self.near[i * self.width + k]
    }

    /// Removes the column at a place, which becomes `value`; returns the loss, or nothing where M is not positive there.
    /// `moved` hears the places that stay where the others went.
    pub fn remove(&mut self, place: usize, value: f64, moved: impl FnMut(&[usize])) -> Result<Option<f64>> {
        let n = self.live.len();
        let matrix = self.matrix.slice_mut::<f64>()?;
        let vector = &mut self.vector[..n];
        vector[..=place].copy_from_slice(&matrix[place * self.stride..][..=place]);
        for (i, x) in vector.iter_mut().enumerate().skip(place + 1) {
            *x = matrix[i * self.stride + place];
        }
        let pending = &self.pending[..self.waiting * self.stride];
        subtract_waiting(vector, pending, self.stride, place);
        let pivot = vector[place];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Ok(None);
        }
        let root = pivot.sqrt();
        let error = (self.weight[place] - value) / root;
        let waiting = &mut self.pending[self.waiting * self.stride..][..n];
        apply(
            vector,
            1.0 / root,
            error,
            waiting,
            &mut self.weight,
            &mut self.diagonal,
        );
        if self.width > 1 {
            for i in 0..n {
                for k in 0..self.width.min(i + 1) {
                    self.near[i * self.width + k] -= waiting[i] * waiting[i - k];
                }
            }
        }
        self.waiting += 1;
        self.gone[place] = true;
        self.gone_count += 1;
        self.weight[place] = 0.0;
        self.diagonal[place] = 1.0;
        let column = self.live[place] as usize;
        self.decided[column] = value;
        self.kept[column] = 0;
        if self.waiting == PENDING && self.gone_count < n {
            self.settle(moved)?;
        }
        Ok(Some(0.5 * error * error))
    }

    /// Weights of the columns that are left go to `decided`.
    pub fn finish(&mut self) {
        for (place, &column) in self.live.iter().enumerate() {
            if !self.gone[place] {
                self.decided[column as usize] = self.weight[place];
            }
        }
    }

    /// M receives what waits.
    pub fn settle(&mut self, mut moved: impl FnMut(&[usize])) -> Result<()> {
        let matrix = self.matrix.slice_mut::<f64>()?;
        if self.gone_count * SPARE >= self.live.len() {
            let stays: Vec<usize> = (0..self.live.len()).filter(|&i| !self.gone[i]).collect();
            for (to, &from) in stays.iter().enumerate() {
                compact(matrix, from * self.stride, to * self.stride, &stays[..=to]);
                self.live[to] = self.live[from];
                self.weight[to] = self.weight[from];
            }
            for waiting in 0..self.waiting {
                compact(
                    &mut self.pending,
                    waiting * self.stride,
                    waiting * self.stride,
                    &stays,
                );
            }
            self.live.truncate(stays.len());
            self.weight.truncate(stays.len());
            self.gone.clear();
            self.gone.resize(stays.len(), false);
            self.gone_count = 0;
            moved(&stays);
        }
        let n = self.live.len();
        let operand = Operand {
            lanes: n,
            depth: self.waiting,
            lane_stride: 1,
            depth_stride: self.stride,
        };
        self.panels.1.fill_alone(&self.pending, operand)?;
        self.pending[..self.waiting * self.stride]
            .iter_mut()
            .for_each(|x| *x = -*x);
        self.panels.0.fill_alone(&self.pending, operand)?;
        let panels = (
            self.panels.0.numbers::<f64>()?,
            self.panels.1.numbers::<f64>()?,
            self.waiting,
        );
        let step = 4 * f64::tile_shape().height;
        for row in (0..n).step_by(step) {
            let end = (row + step).min(n);
            let tile = Tile {
                rows: (row, end),
                columns: (0, end),
            };
            // SAFETY: the matrix has a row for each of the tile and a column for each, and is used by nobody else.
            unsafe { multiply_tile(panels, tile, matrix.as_mut_ptr(), self.stride, true) };
        }
        self.waiting = 0;
        self.refresh()
    }
}

/// Moves the numbers at places `stays` behind `from` together behind `to`, which is not later.
fn compact(numbers: &mut [f64], from: usize, to: usize, stays: &[usize]) {
    let mut next = 0;
    while next < stays.len() {
        let mut run = 1;
        while next + run < stays.len() && stays[next + run] == stays[next] + run {
            run += 1;
        }
        let start = from + stays[next];
        numbers.copy_within(start..start + run, to + next);
        next += run;
    }
}

crate::simd! {
    /// vector -= sum of waiting[k][place] * waiting[k]
    fn subtract_waiting(vector: &mut [f64], pending: &[f64], stride: usize, place: usize) {
        let n = vector.len();
        let mut rows = pending.chunks_exact(4 * stride);
        for four in &mut rows {
            let (a, b, c, d) = (&four[..n], &four[stride..][..n], &four[2 * stride..][..n], &four[3 * stride..][..n]);
            let (fa, fb, fc, fd) = (a[place], b[place], c[place], d[place]);
            for i in 0..n {
                vector[i] -= (fa * a[i] + fb * b[i]) + (fc * c[i] + fd * d[i]);
            }
        }
        for row in rows.remainder().chunks_exact(stride) {
            let factor = row[place];
            for (x, v) in vector.iter_mut().zip(row) {
                *x -= factor * v;
            }
        }
    }
}

crate::simd! {
    /// v = vector * scale waits; weight -= v * error, diagonal -= v^2.
    fn apply(vector: &[f64], scale: f64, error: f64, waiting: &mut [f64], weight: &mut [f64], diagonal: &mut [f64]) {
        for (((x, v), w), d) in vector.iter().zip(waiting).zip(weight).zip(diagonal) {
            *v = x * scale;
            *w -= *v * error;
            *d -= *v * *v;
        }
    }
}
