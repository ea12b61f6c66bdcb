//! One number an element: functions of one tensor, and of two of equal shape. Each operation
//! is a loop over dense elements in f32 or f64; `walk.rs` brings the blocks of strided tensors to it, bf16 in f32.
//! The loops are `for` loops: what an iterator calls may not be inlined, and then loses the instruction set.

pub(crate) mod binary;
pub(crate) mod swiglu;
mod unary;
mod unary_gradient;

pub use binary::binary;
pub use swiglu::{swiglu, swiglu_gradient};
pub use unary::unary;
pub use unary_gradient::unary_gradient;

use crate::arena::{View, view};
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use napi_derive::napi;

/// Shapes equal and types equal, or a fault that names the operation.
pub fn alike(name: &str, a: &View, b: &View) -> Result<()> {
    if *a.shape != *b.shape {
        return Err(Fault::shape(format!(
            "{name}: needs equal shapes, got {:?} and {:?}",
            &*a.shape, &*b.shape
        )));
    }
    if a.dtype != b.dtype {
        let (a, b) = (a.dtype.name(), b.dtype.name());
        return Err(Fault::shape(format!(
            "{name}: needs one number type, got {a} and {b}; cast one of them"
        )));
    }
    Ok(())
}

pub fn unknown(what: &str, name: &str) -> Fault {
    Fault::shape(format!("{what}: no operation is called {name}"))
}

pub fn needs_float(name: &str, found: DType) -> Fault {
    Fault::shape(format!(
        "{name}: needs f32, f64 or bf16, got {}; cast it first",
        found.name()
    ))
}

#[napi(js_name = "unary")]
pub fn unary_border(name: String, x: u32) -> js::Result<u32> {
    border(|| Ok(unary(&name, &view(x)?)?.into_handle()))
}

#[napi(js_name = "binary")]
pub fn binary_border(name: String, a: u32, b: u32) -> js::Result<u32> {
    border(|| Ok(binary(&name, &view(a)?, &view(b)?)?.into_handle()))
}

/// dy f'(x), from x for silu, geluErf and geluTanh, from y = f(x) for tanh, sigmoid and relu.
#[napi(js_name = "unaryGradient")]
pub fn unary_gradient_border(name: String, kept: u32, dy: u32) -> js::Result<u32> {
    border(|| Ok(unary_gradient(&name, &view(kept)?, &view(dy)?)?.into_handle()))
}

/// silu(gate) up
#[napi(js_name = "swiglu")]
pub fn swiglu_border(gate: u32, up: u32) -> js::Result<u32> {
    border(|| Ok(swiglu(&view(gate)?, &view(up)?)?.into_handle()))
}

/// Handles of dgate and dup.
#[napi(js_name = "swigluGradient")]
pub fn swiglu_gradient_border(gate: u32, up: u32, dy: u32) -> js::Result<Vec<u32>> {
    border(|| {
        let found = swiglu_gradient(&view(gate)?, &view(up)?, &view(dy)?)?;
        Ok(found.into_iter().map(View::into_handle).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Dims;
    use crate::copy;
    use half::bf16;

    fn floats(x: Result<View>) -> Vec<f32> {
        copy::cast(&x.unwrap(), DType::F32)
            .unwrap()
            .slice::<f32>()
            .unwrap()
            .to_vec()
    }

    #[test]
    fn operands_may_be_broadcast_turned_and_stepped() {
        let (rows, columns) = (300, 700);
        let a = View::filled(&[rows, columns], |i| i as f32);
        let row = View::filled(&[columns], |i| 0.5 * i as f32)
            .restrided(&[rows, columns], &[0, 1], 0)
            .unwrap();
        let column = View::filled(&[rows], |i| 0.25 * i as f32)
            .restrided(&[rows, columns], &[1, 0], 0)
            .unwrap();
        let turned = View::filled(&[columns, rows], |i| i as f32)
            .restrided(&[rows, columns], &[1, rows], 0)
            .unwrap();
        let stepped = View::filled(&[rows, 3 * columns], |i| i as f32)
            .restrided(&[rows, columns], &[3 * columns, 3], 1)
            .unwrap();
        for other in [row, column, turned, stepped] {
            let (got, dense) = (floats(binary("add", &a, &other)), floats(copy::copy(&other)));
            assert!(
                got.iter()
                    .zip(&dense)
                    .enumerate()
                    .all(|(i, (g, d))| *g == i as f32 + d)
            );
            assert_eq!(
                floats(binary("sub", &other, &a)),
                got.iter()
                    .enumerate()
                    .map(|(i, g)| g - 2.0 * i as f32)
                    .collect::<Vec<_>>()
            );
            assert_eq!(
                floats(unary("neg", &other)),
                dense.iter().map(|d| -d).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn nan_wins_and_halves_round_to_even() {
        let a = View::filled(&[4], |i| [1.0, f32::NAN, 3.0, -0.5][i]);
        let b = View::filled(&[4], |i| [2.0, 0.0, f32::NAN, -2.5][i]);
        for name in ["maximum", "minimum"] {
            let got = floats(binary(name, &a, &b));
            assert!(got[1].is_nan() && got[2].is_nan(), "{name}");
        }
        let x = View::filled(&[5], |i| [0.5, 1.5, 2.5, -0.5, -1.5][i]);
        assert_eq!(floats(unary("round", &x)), [0.0, 2.0, 2.0, 0.0, -2.0]);
        assert_eq!(floats(unary("relu", &a))[..1], [1.0]);
        assert!(floats(unary("relu", &a))[1].is_nan());
    }

    #[test]
    fn far_angles_are_as_good_as_near_ones() {
        let x = View::filled(&[3], |i| [1e10, -3e20, f32::INFINITY][i]);
        let got = floats(unary("sin", &x));
        assert_eq!(got[..2], [1e10f32, -3e20].map(|v| f64::from(v).sin() as f32));
        assert!(got[2].is_nan());
    }

    #[test]
    fn bf16_rounds_once() {
        let x = copy::cast(&View::filled(&[600], |i| 1.0 + i as f32 / 128.0), DType::BF16).unwrap();
        let wide = floats(Ok(x.clone()));
        let want: Vec<f32> = wide.iter().map(|v| bf16::from_f32(v * v).to_f32()).collect();
        assert_eq!(floats(unary("square", &x)), want);
    }

    #[test]
    fn nothing_stays_nothing() {
        let none = View {
            shape: Dims::new(&[0]).unwrap(),
            ..View::filled(&[3], |i| i as f32)
        };
        assert!(unary("exp", &none).unwrap().is_empty());
    }
}
