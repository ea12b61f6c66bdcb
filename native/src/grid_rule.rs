//! The rule of the column sweep that rounds weights to a grid: evenly spaced levels (GPTQ files, Pare's own) or one
//! of ggml's block types, whose scales may be codes themselves.
//!
//!   value = step * level - offset        level of code c: c - zero, or an entry of a table
//!
//! Parameters are fitted on the current weights of a group when the sweep reaches it, and are exactly what will be
//! stored: the sweep sees the rounded scales.

use crate::affine_grid::{AffineGrid, clamp, round_even};
use crate::blocks::{BlockParameters, BlockType, NON_LINEAR_LEVELS, NON_LINEAR_STEPS};
use crate::parallel::Shared;
use crate::product::Real;
use crate::sweep::{LANES, Lanes, Rule};

#[derive(Clone, Copy)]
pub enum GridKind {
    /// Groups of `usize` columns; the last may be shorter.
    Affine(AffineGrid, usize),
    Block(BlockType),
}

impl GridKind {
    /// Columns that are fitted together.
    fn fit_length(&self) -> usize {
        match self {
            GridKind::Affine(_, group) => *group,
            GridKind::Block(block) => block.block_len(),
        }
    }
    /// Columns that share a step.
    fn step_length(&self) -> usize {
        match self {
            GridKind::Affine(_, group) => *group,
            GridKind::Block(block) => block.sub_len(),
        }
    }
}

/// Where a grid goes: code and parameter arrays (affine), or packed blocks.
pub enum Output {
    /// codes [rows, columns] in the original order of columns; scales and zeros [rows, groups].
    Codes {
        codes: Shared<u8>,
        scales: Shared<f32>,
        zeros: Shared<u8>,
    },
    /// [rows, columns / block_len * block_bytes]
    Blocks(Shared<u8>),
}

pub struct GridRule<'a, T> {
    pub kind: GridKind,
    pub columns: usize,
    /// Column of the weight at each position of the sweep.
    pub order: Option<&'a [u32]>,
    /// Groups are made of neighbouring columns and fitted on this weight before the sweep begins; otherwise of
    /// neighbouring positions, fitted as the sweep reaches them.
    pub fixed: Option<&'a [T]>,
    pub output: Output,
}

/// What the rule knows of 16 rows.
pub struct GridTile<T> {
    /// Per group of equal step: step, offset, lowest and highest level.
    steps: Vec<Lanes<T>>,
    offsets: Vec<Lanes<T>>,
    lows: Vec<Lanes<T>>,
    highs: Vec<Lanes<T>>,
    /// Codes by position.
    codes: Vec<[u8; LANES]>,
    /// Block parameters, [fits][lanes].
    blocks: Vec<[BlockParameters; LANES]>,
}

impl<T: Real> GridRule<'_, T> {
    fn column_at(&self, position: usize) -> usize {
        self.order.map_or(position, |order| order[position] as usize)
    }

    /// The group of equal step that the column at `position` belongs to.
    #[inline(always)]
    fn group_at(&self, position: usize) -> usize {
        let place = if self.fixed.is_some() {
            self.column_at(position)
        } else {
            position
        };
        place / self.kind.step_length()
    }

    /// Fits the columns `start ..` (places of groups) of one lane.
    fn fit_lane(&self, tile: &mut GridTile<T>, start: usize, lane: usize, values: &[T]) {
        match &self.kind {
            GridKind::Affine(grid, length) => {
                let p = grid.fit(values);
                let group = start / length;
                tile.steps[group][lane] = T::from_f64(p.scale);
                tile.lows[group][lane] = T::from_f64(-p.zero);
                tile.highs[group][lane] = T::from_f64(grid.top() - p.zero);
            }
            GridKind::Block(block) => {
                let mut x = [0.0f32; 256];
                for (target, value) in x.iter_mut().zip(values) {
                    *target = value.to_f64() as f32;
                }
                let parameters = block.fit(&x[..values.len()], None);
                let first = start / block.sub_len();
                for k in 0..block.sub_count() {
                    tile.steps[first + k][lane] = T::from_f64(f64::from(parameters.step(k)));
                    tile.offsets[first + k][lane] = T::from_f64(f64::from(parameters.offset(k)));
                }
                tile.blocks[start / block.block_len()][lane] = parameters;
            }
        }
    }
}

impl<T: Real> Rule<T> for GridRule<'_, T> {
    type Tile = GridTile<T>;

    fn tile(&self, first_row: usize, rows: usize) -> GridTile<T> {
        let groups = self.columns.div_ceil(self.kind.step_length());
        let (low, high) = match &self.kind {
            GridKind::Affine(..) => (T::ZERO, T::ZERO),
            GridKind::Block(block) => {
                let zero = f64::from(block.zero_code());
                (
                    T::from_f64(-zero),
                    T::from_f64(block.code_count() as f64 - 1.0 - zero),
                )
            }
        };
        let mut tile = GridTile {
            steps: vec![[T::ZERO; LANES]; groups],
            offsets: vec![[T::ZERO; LANES]; groups],
            lows: vec![[low; LANES]; groups],
            highs: vec![[high; LANES]; groups],
            codes: vec![[0; LANES]; self.columns],
            blocks: match &self.kind {
                GridKind::Affine(..) => Vec::new(),
                GridKind::Block(block) => {
                    vec![[BlockParameters::default(); LANES]; self.columns / block.block_len()]
                }
            },
        };
        if let Some(weight) = self.fixed {
            let length = self.kind.fit_length();
            for lane in 0..rows {
                let row = &weight[(first_row + lane) * self.columns..(first_row + lane + 1) * self.columns];
                for start in (0..self.columns).step_by(length) {
                    self.fit_lane(
                        &mut tile,
                        start,
                        lane,
                        &row[start..(start + length).min(self.columns)],
                    );
                }
            }
        }
        tile
    }

    fn starts_group(&self, position: usize) -> bool {
        self.fixed.is_none() && position.is_multiple_of(self.kind.fit_length())
    }

    fn begin_group(&self, tile: &mut GridTile<T>, position: usize, columns: &[Lanes<T>]) {
        let length = self.kind.fit_length().min(columns.len());
        let mut values = vec![T::ZERO; length];
        for lane in 0..LANES {
            for (value, column) in values.iter_mut().zip(columns) {
                *value = column[lane];
            }
            self.fit_lane(tile, position, lane, &values);
        }
    }

    #[inline(always)]
    fn decide(&self, tile: &mut GridTile<T>, position: usize, column: &Lanes<T>) -> Lanes<T> {
        let group = self.group_at(position);
        let (steps, offsets) = (&tile.steps[group], &tile.offsets[group]);
        let codes = &mut tile.codes[position];
        let mut result = [T::ZERO; LANES];
        if let GridKind::Block(BlockType::IQ4_NL) = self.kind {
            let zero = T::from_f64(f64::from(BlockType::IQ4_NL.level(BlockType::IQ4_NL.zero_code())));
            let (mut targets, mut levels) = (
                [T::ZERO; LANES],
                [T::from_f64(f64::from(NON_LINEAR_LEVELS[0])); LANES],
            );
            let mut counts = [T::ZERO; LANES];
            for lane in 0..LANES {
                // A step of 0 makes every level worth the same; the zero code is taken.
                targets[lane] = if steps[lane] == T::ZERO {
                    zero
                } else {
                    column[lane] / steps[lane]
                };
            }
            for (middle, gap) in NON_LINEAR_STEPS {
                let (middle, gap) = (T::from_f64(f64::from(middle)), T::from_f64(f64::from(gap)));
                for lane in 0..LANES {
                    let beyond = targets[lane] > middle;
                    levels[lane] += if beyond { gap } else { T::ZERO };
                    counts[lane] += if beyond { T::ONE } else { T::ZERO };
                }
            }
            for lane in 0..LANES {
                codes[lane] = counts[lane].to_f64() as u8;
                result[lane] = steps[lane] * levels[lane];
            }
            return result;
        }
        let (lows, highs) = (&tile.lows[group], &tile.highs[group]);
        let mut levels = [T::ZERO; LANES];
        for lane in 0..LANES {
            // A step of 0 makes every level worth the same; level 0 is taken.
            let usable = if steps[lane] == T::ZERO {
                T::ONE
            } else {
                steps[lane]
            };
            let target = if steps[lane] == T::ZERO {
                T::ZERO
            } else {
                column[lane] + offsets[lane]
            };
            levels[lane] = round_even(clamp(target / usable, lows[lane], highs[lane]));
            result[lane] = steps[lane] * levels[lane] - offsets[lane];
        }
        for lane in 0..LANES {
            codes[lane] = (levels[lane] - lows[lane]).to_f64() as u8;
        }
        result
    }

    fn finish(&self, tile: GridTile<T>, first_row: usize, rows: usize) {
        match (&self.output, &self.kind) {
            (Output::Codes { codes, scales, zeros }, _) => {
                let groups = tile.steps.len();
                for lane in 0..rows {
                    let row = first_row + lane;
                    for (position, code) in tile.codes.iter().enumerate() {
                        // SAFETY: rows first_row .. first_row + rows belong to this tile alone, here and below.
                        unsafe {
                            *codes.get().add(row * self.columns + self.column_at(position)) = code[lane]
                        };
                    }
                    for group in 0..groups {
                        // SAFETY: as above.
                        unsafe {
                            *scales.get().add(row * groups + group) = tile.steps[group][lane].to_f64() as f32;
                            *zeros.get().add(row * groups + group) = (-tile.lows[group][lane].to_f64()) as u8;
                        }
                    }
                }
            }
            (Output::Blocks(bytes), GridKind::Block(block)) => {
                let (length, size) = (block.block_len(), block.block_bytes());
                let count = self.columns / length;
                let mut ordered = vec![0u8; self.columns];
                for lane in 0..rows {
                    for (position, code) in tile.codes.iter().enumerate() {
                        ordered[self.column_at(position)] = code[lane];
                    }
                    for index in 0..count {
                        let start = ((first_row + lane) * count + index) * size;
                        // SAFETY: as above; a block has `size` bytes.
                        let target = unsafe { std::slice::from_raw_parts_mut(bytes.get().add(start), size) };
                        block.pack(
                            &tile.blocks[index][lane],
                            &ordered[index * length..(index + 1) * length],
                            target,
                        );
                    }
                }
            }
            (Output::Blocks(_), GridKind::Affine(..)) => {}
        }
    }
}
