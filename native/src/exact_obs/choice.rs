//! Which column of a row goes next, and what it becomes.

use super::row::Row;
use crate::affine_grid::{clamp, round_even};

const NONE: f64 = f64::INFINITY;

crate::simd! {
    /// scores = weight^2 / diagonal + closed, where `closed` is 0 or infinite; returns the first of the least.
    fn least_removal(weight: &[f64], diagonal: &[f64], closed: &[f64], scores: &mut [f64]) -> usize {
        for (((score, w), d), c) in scores.iter_mut().zip(weight).zip(diagonal).zip(closed) {
            *score = w * w / d + c;
        }
        first_least(scores)
    }
}

/// Index of the first of the least; 0 where all are NaN.
#[inline(always)]
fn first_least(scores: &[f64]) -> usize {
    let mut lanes = [NONE; 16];
    let (lines, rest) = scores.as_chunks::<16>();
    for line in lines {
        for (least, &score) in lanes.iter_mut().zip(line) {
            *least = if score < *least { score } else { *least };
        }
    }
    let least = lanes
        .iter()
        .chain(rest)
        .fold(NONE, |least, &score| if score < least { score } else { least });
    scores.iter().position(|&score| score == least).unwrap_or(0)
}

/// Single columns, anywhere or with at most `zeros` in each group of `group` neighbours.
pub struct Singles {
    group: usize,
    zeros: usize,
    counts: Vec<usize>,
    closed: Vec<f64>,
    scores: Vec<f64>,
}

impl Singles {
    pub fn new(columns: usize, group: usize, zeros: usize) -> Singles {
        Singles {
            group,
            zeros,
            counts: vec![0; columns.div_ceil(group)],
            closed: vec![if zeros == 0 { NONE } else { 0.0 }; columns],
            scores: vec![0.0; columns],
        }
    }

    /// The place with the least score; nothing where no column may go.
    pub fn next(&mut self, row: &Row) -> Option<usize> {
        let n = row.live.len();
        let scores = &mut self.scores[..n];
        if n == 0 {
            return None;
        }
        let place = least_removal(&row.weight, &row.diagonal[..n], &self.closed[..n], scores);
        scores[place].is_finite().then_some(place)
    }

    /// The column at a place is about to go.
    pub fn close(&mut self, row: &Row, place: usize) {
        self.closed[place] = NONE;
        let group = row.live[place] as usize / self.group;
        self.counts[group] += 1;
        if self.counts[group] >= self.zeros {
            for (closed, &column) in self.closed.iter_mut().zip(&row.live) {
                if column as usize / self.group == group {
                    *closed = NONE;
                }
            }
        }
    }

    pub fn moved(&mut self, stays: &[usize]) {
        for (to, &from) in stays.iter().enumerate() {
            self.closed[to] = self.closed[from];
        }
    }
}

/// Blocks of neighbouring columns: score = w_B (M_BB)^-1 w_B^T.
pub struct Blocks {
    width: usize,
    square: Vec<f64>,
    solved: Vec<f64>,
}

impl Blocks {
    pub fn new(width: usize) -> Blocks {
        Blocks {
            width,
            square: vec![0.0; width * width],
            solved: vec![0.0; width],
        }
    }

    /// The block with the least score; nothing where all are gone or M is not positive.
    pub fn next(&mut self, row: &Row) -> Option<usize> {
        let (mut best, mut least) = (None, NONE);
        let n = row.live.len();
        let mut start = 0;
        while start < n {
            let block = row.live[start] as usize / self.width;
            let mut end = start;
            while end < n && row.live[end] as usize / self.width == block {
                end += 1;
            }
            if (start..end).any(|i| !row.gone[i]) {
                let score = self.score(row, start, end)?;
                if score < least {
                    (best, least) = (Some(block), score);
                }
            }
            start = end;
        }
        best
    }

    /// |L^-1 w|^2 with M_BB = L L^T, over the places that are left.
    fn score(&mut self, row: &Row, start: usize, end: usize) -> Option<f64> {
        let (c, mut size, mut score) = (self.width, 0, 0.0);
        let mut places = [0usize; 64];
        for i in (start..end).filter(|&i| !row.gone[i]) {
            places[size] = i;
            for j in 0..=size {
                let mut sum = row.near(i, i - places[j]);
                for k in 0..j {
                    sum -= self.square[size * c + k] * self.square[j * c + k];
                }
                if j < size {
                    self.square[size * c + j] = sum / self.square[j * c + j];
                } else if sum > 0.0 {
                    self.square[size * c + size] = sum.sqrt();
                } else {
                    return None;
                }
            }
            let mut sum = row.weight[i];
            for k in 0..size {
                sum -= self.square[size * c + k] * self.solved[k];
            }
            self.solved[size] = sum / self.square[size * c + size];
            score += self.solved[size] * self.solved[size];
            size += 1;
        }
        Some(score)
    }
}

/// Widest block, see `Blocks::score`.
pub const WIDEST_BLOCK: usize = 64;

/// Levels: value = scale * (code - zero), codes 0 ..= top; a scale and a zero by column.
pub struct Grid {
    pub top: f64,
    /// By place, as `zeros`.
    pub scales: Vec<f64>,
    pub zeros: Vec<f64>,
    closed: Vec<f64>,
    scores: Vec<f64>,
    errors: Vec<f64>,
}

impl Grid {
    pub fn new(columns: usize, top: f64) -> Grid {
        let zeros = || vec![0.0; columns];
        Grid {
            top,
            scales: zeros(),
            zeros: zeros(),
            closed: zeros(),
            scores: zeros(),
            errors: zeros(),
        }
    }

    /// The code and the level that are nearest to the weight at a place.
    pub fn nearest(&self, row: &Row, place: usize) -> (f64, f64) {
        let code = code_of(row.weight[place], self.scales[place], self.zeros[place], self.top);
        (code, self.scales[place] * (code - self.zeros[place]))
    }

    /// A weight that lies outside of its levels, the farthest first; else the one with the least err^2 / M_pp.
    pub fn next(&mut self, row: &Row) -> Option<usize> {
        let n = row.live.len();
        if n == 0 {
            return None;
        }
        let (scores, errors) = (&mut self.scores[..n], &mut self.errors[..n]);
        let grid = (&self.scales[..n], &self.zeros[..n], &self.closed[..n]);
        if has_outlier(&row.weight, grid.0, grid.1, grid.2, self.top, errors) {
            let greatest = first_greatest(errors);
            return Some(greatest);
        }
        for ((score, error), d) in scores.iter_mut().zip(errors.iter()).zip(&row.diagonal) {
            *score = error / d;
        }
        for (score, closed) in scores.iter_mut().zip(grid.2) {
            *score += closed;
        }
        let place = first_least(scores);
        scores[place].is_finite().then_some(place)
    }

    pub fn close(&mut self, place: usize) {
        self.closed[place] = NONE;
    }

    pub fn moved(&mut self, stays: &[usize]) {
        for (to, &from) in stays.iter().enumerate() {
            self.closed[to] = self.closed[from];
            self.scales[to] = self.scales[from];
            self.zeros[to] = self.zeros[from];
        }
    }
}

/// The nearest code; halves go to the even level.
#[inline(always)]
fn code_of(weight: f64, scale: f64, zero: f64, top: f64) -> f64 {
    round_even(clamp(weight / scale, -zero, top - zero)) + zero
}

fn first_greatest(errors: &[f64]) -> usize {
    let mut best = 0;
    for (i, &error) in errors.iter().enumerate() {
        if error > errors[best] {
            best = i;
        }
    }
    best
}

crate::simd! {
    /// errors = (nearest level - weight)^2, -1 where the column is closed; true where one is past half a step (with room
    /// for rounding).
    fn has_outlier(weight: &[f64], scales: &[f64], zeros: &[f64], closed: &[f64], top: f64, errors: &mut [f64]) -> bool {
        let mut outliers = 0.0f64;
        for i in 0..errors.len() {
            let (w, s, z) = (weight[i], scales[i], zeros[i]);
            let error = s * (code_of(w, s, z, top) - z) - w;
            let square = if closed[i] > 0.0 { -1.0 } else { error * error };
            errors[i] = square;
            outliers += if square > 0.25 * s * s * (1.0 + 1e-9) { 1.0 } else { 0.0 };
        }
        outliers > 0.0
    }
}
