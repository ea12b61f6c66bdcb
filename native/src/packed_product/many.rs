//! Many rows of inputs: rows of the weight are decoded some at a time, so that they come from the caches, and go through
//! the dense product.

use crate::arena::View;
use crate::dtype::DType;
use crate::fault::Result;
use crate::packing::Operand;
use crate::panel::Side;
use crate::parallel::Shared;
use crate::product::product;
use std::ops::Range;

/// Bytes of decoded rows, about: a share of the second-level caches.
const DECODED: usize = 1 << 21;

/// out [m, rows] = x [m, columns] times the transposed weight [rows, columns] whose rows `decode` gives, plus bias [rows].
pub fn multiply_decoded(
    (rows, columns): (usize, usize),
    decode: impl Fn(Range<usize>, &mut [f32]) -> Result<()>,
    x: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<()> {
    let many = x.len() / columns;
    let each = (DECODED / (4 * columns)).next_multiple_of(64).min(rows);
    let decoded = View::empty(DType::F32, &[each, columns])?;
    let part = View::empty(DType::F32, &[many, each])?;
    let inputs = Side {
        numbers: x,
        operand: Operand {
            lanes: many,
            depth: columns,
            lane_stride: columns,
            depth_stride: 1,
        },
        batches: &[0],
    };
    let target = Shared(out.as_mut_ptr());
    for start in (0..rows).step_by(each) {
        let count = each.min(rows - start);
        let numbers = &mut decoded.slice_mut::<f32>()?[..count * columns];
        decode(start..start + count, numbers)?;
        let weights = Side {
            numbers: &*numbers,
            operand: Operand {
                lanes: count,
                depth: columns,
                lane_stride: columns,
                depth_stride: 1,
            },
            batches: &[0],
        };
        product(
            inputs,
            weights,
            &mut part.slice_mut::<f32>()?[..many * count],
            |line: &mut [f32], column, position| {
                let place = position / count * rows + start + column;
                // SAFETY: each line of the part has its own place in the output.
                let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(place), line.len()) };
                out.copy_from_slice(line);
                if let Some(bias) = bias {
                    out.iter_mut()
                        .zip(&bias[start + column..])
                        .for_each(|(y, bias)| *y += bias);
                }
            },
        )?;
    }
    Ok(())
}
