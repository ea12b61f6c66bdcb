//! The rule of the column sweep that keeps weights as numbers, rounded to the type that they are stored in.

use crate::dtype::DType;
use crate::product::Real;
use crate::sweep::{LANES, Lanes, Rule};

pub struct NumberRule {
    /// f16, bf16 or f32; the others keep what is there.
    pub stored: DType,
}

impl<T: Real> Rule<T> for NumberRule {
    type Tile = ();

    fn tile(&self, _: usize, _: usize) {}

    fn starts_group(&self, _: usize) -> bool {
        false
    }

    fn begin_group(&self, (): &mut (), _: usize, _: &[Lanes<T>]) {}

    #[inline(always)]
    fn decide(&self, (): &mut (), _: usize, column: &Lanes<T>) -> Lanes<T> {
        let round = |value: T| -> f64 {
            let wide = value.to_f64();
            match self.stored {
                DType::F16 => half::f16::from_f64(wide).to_f64(),
                DType::BF16 => half::bf16::from_f64(wide).to_f64(),
                DType::F32 => f64::from(wide as f32),
                _ => wide,
            }
        };
        let mut chosen = *column;
        for lane in 0..LANES {
            chosen[lane] = T::from_f64(round(chosen[lane]));
        }
        chosen
    }

    fn finish(&self, (): (), _: usize, _: usize) {}
}
