//! Blocks of quantised weights as ggml lays them out: sizes, levels, fits, packing and decoding.
//!
//!   value_i = d * scale_k * level(code_i) - dmin * min_k        k = sub-block of i
//!
//! Layouts: ggml's ggml-common.h; writers: ggml-quants.c. The slow and plain twin is src/formats/gguf/blocks.ts.

#[cfg(target_arch = "x86_64")]
pub(crate) mod byte_vectors;
mod decode;
mod fit;
mod layout;
mod rows;
#[cfg(target_arch = "x86_64")]
mod vectors;

pub mod binding;

pub(crate) use layout::half_at as half_of;
pub use rows::{RowError, dequantize, quantize};

/// Elements of the longest block.
pub const LONGEST_BLOCK: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum BlockType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    IQ4_NL,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

use BlockType::*;

/// What a block stores beside its codes, exactly as stored: `d` and `dmin` are f16 values. The minimum m that
/// Q4_1 and Q5_1 add is kept as `dmin = -m` with `mins[0] = 1`. Types without scales have `scales[0] = 1`.
/// Entries past the last sub-block are 0.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct BlockParameters {
    pub d: f32,
    pub dmin: f32,
    pub scales: [i32; 16],
    pub mins: [i32; 16],
}

impl BlockParameters {
    /// What one level of sub-block `k` is worth.
    pub fn step(&self, k: usize) -> f32 {
        self.d * self.scales[k] as f32
    }

    /// What is subtracted in sub-block `k`.
    pub fn offset(&self, k: usize) -> f32 {
        self.dmin * self.mins[k] as f32
    }
}

/// Levels of IQ4_NL.
pub const NON_LINEAR_LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

impl BlockType {
    pub const ALL: [BlockType; 14] = [
        F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K,
    ];

    /// The type of a name such as `Q4_K`.
    pub fn from_name(name: &str) -> Option<BlockType> {
        Self::ALL
            .into_iter()
            .find(|block_type| format!("{block_type:?}") == name)
    }

    /// Whether blocks hold codes; the others are plain floats.
    pub fn is_coded(self) -> bool {
        !matches!(self, F32 | F16 | BF16)
    }

    /// Elements of a block.
    pub fn block_len(self) -> usize {
        match self {
            F32 | F16 | BF16 => 1,
            Q8_0 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | IQ4_NL => 32,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | BF16 => 2,
            Q8_0 => 34,
            Q4_0 | IQ4_NL => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q2_K => 84,
            Q3_K => 110,
            Q4_K => 144,
            Q5_K => 176,
            Q6_K => 210,
        }
    }

    /// Elements that share a scale.
    pub fn sub_len(self) -> usize {
        match self {
            Q2_K | Q3_K | Q6_K => 16,
            Q4_K | Q5_K => 32,
            _ => self.block_len(),
        }
    }

    /// Sub-blocks of a block.
    pub fn sub_count(self) -> usize {
        self.block_len() / self.sub_len()
    }

    /// Different codes; 0 for floats.
    pub fn code_count(self) -> usize {
        match self {
            F32 | F16 | BF16 => 0,
            Q2_K => 4,
            Q3_K => 8,
            Q4_0 | Q4_1 | IQ4_NL | Q4_K => 16,
            Q5_0 | Q5_1 | Q5_K => 32,
            Q6_K => 64,
            Q8_0 => 256,
        }
    }

    /// The code whose level is 0 (of IQ4_NL: nearest to 0).
    pub fn zero_code(self) -> u8 {
        match self {
            Q8_0 => 128,
            Q6_K => 32,
            Q5_0 => 16,
            Q4_0 | IQ4_NL => 8,
            Q3_K => 4,
            _ => 0,
        }
    }

    /// What a code below `code_count` stands for, before scale and offset.
    pub fn level(self, code: u8) -> f32 {
        match self {
            IQ4_NL => NON_LINEAR_LEVELS[(code & 15) as usize] as f32,
            _ => code as f32 - self.zero_code() as f32,
        }
    }

    /// Largest magnitude that surely fits: beyond it an f16 scale may overflow.
    pub fn largest(self) -> f32 {
        const HALF: f32 = 65504.0;
        match self {
            F32 => f32::MAX,
            BF16 => 3.3895314e38,
            F16 | Q4_1 | Q5_1 => HALF,
            Q4_0 => HALF * 8.0,
            Q2_K => HALF * 15.0,
            Q5_0 => HALF * 16.0,
            Q8_0 | IQ4_NL | Q3_K | Q4_K | Q5_K | Q6_K => HALF * 63.0,
        }
    }

    /// Best stored parameters for one block of `block_len` finite values by the rules of the reference writers.
    /// `importance` holds a non-negative weight per element for the least squares; without it the reference's
    /// own weights are used, as they are for a sub-block whose importance is 0 everywhere.
    ///
    /// Panics for float types, which have no parameters.
    pub fn fit(self, x: &[f32], importance: Option<&[f32]>) -> BlockParameters {
        fit::fit(self, x, importance)
    }

    /// The nearest level to each value under fixed stored parameters, halves going to even codes.
    pub fn quantize_with(self, x: &[f32], parameters: &BlockParameters, codes: &mut [u8]) {
        let sub_len = self.sub_len();
        for (k, (x, codes)) in x.chunks(sub_len).zip(codes.chunks_mut(sub_len)).enumerate() {
            let (step, offset) = (parameters.step(k), parameters.offset(k));
            for (&x, code) in x.iter().zip(codes) {
                *code = self.nearest_code(x, step, offset);
            }
        }
    }

    /// The code nearest to one value; with a step of 0 every code is as good, and the zero code is taken.
    #[inline]
    pub fn nearest_code(self, x: f32, step: f32, offset: f32) -> u8 {
        if step == 0.0 {
            return self.zero_code();
        }
        let target = (x + offset) / step;
        if self == IQ4_NL {
            return nearest_non_linear(target);
        }
        let zero = self.zero_code() as f32;
        (target
            .clamp(-zero, self.code_count() as f32 - 1.0 - zero)
            .round_ties_even()
            + zero) as u8
    }

    /// Writes one block; codes, scales and mins must fit their fields.
    pub fn pack(self, parameters: &BlockParameters, codes: &[u8], out: &mut [u8]) {
        layout::pack(self, parameters, codes, out)
    }

    /// Takes one block apart.
    pub fn unpack(self, bytes: &[u8], parameters: &mut BlockParameters, codes: &mut [u8]) {
        layout::unpack(self, bytes, parameters, codes)
    }

    /// Decodes whole blocks; `out` has `block_len` values for each of them.
    pub fn dequantize_row(self, bytes: &[u8], out: &mut [f32]) {
        decode::decode(self, bytes, out)
    }

    /// Encodes whole blocks. Fails at the first value that is not finite or too large for the type.
    pub fn quantize_row(self, x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), RowError> {
        rows::quantize_row(self, x, importance, out)
    }
}

/// Between each level of IQ4_NL and the next: the middle, up to which the lower one is nearer, and the gap.
pub const NON_LINEAR_STEPS: [(f32, f32); 15] = {
    let mut steps = [(0.0, 0.0); 15];
    let mut at = 0;
    while at < 15 {
        let (low, high) = (NON_LINEAR_LEVELS[at] as f32, NON_LINEAR_LEVELS[at + 1] as f32);
        steps[at] = (0.5 * (low + high), high - low);
        at += 1;
    }
    steps
};

/// The code of the level of IQ4_NL nearest to `target`; of two equally near the lower.
#[inline(always)]
pub fn nearest_non_linear(target: f32) -> u8 {
    NON_LINEAR_STEPS
        .iter()
        .fold(0, |code, &(middle, _)| code + u8::from(target > middle))
}

#[cfg(test)]
mod tests;
