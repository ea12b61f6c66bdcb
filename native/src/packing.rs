//! Operands of a matrix product rewritten for the micro kernel: slivers as thick as its tile, one step of the inner
//! extent after the other, so that it reads memory straight on. What a border sliver lacks is filled with zeros.

use crate::dtype::Compute;
use crate::turned_lanes::turn;

/// A strided matrix seen from the kernel: `lanes` rows of the left operand or columns of the right one.
#[derive(Clone, Copy)]
pub struct Operand {
    pub lanes: usize,
    pub depth: usize,
    pub lane_stride: usize,
    pub depth_stride: usize,
}

/// Numbers that one packed operand takes.
pub fn packed_length(lanes: usize, depth: usize, thickness: usize) -> usize {
    lanes.next_multiple_of(thickness) * depth
}

/// Packs `lanes` lanes, at most `thickness`, over `depth` steps; `from` begins at the first number.
pub fn pack_sliver<S: Compute>(from: &[S], operand: Operand, thickness: usize, out: &mut [S::Wide]) {
    if operand.lanes == 0 || out.is_empty() {
        return;
    }
    match thickness {
        4 => pack::<S, 4>(from, operand, out),
        6 => pack::<S, 6>(from, operand, out),
        8 => pack::<S, 8>(from, operand, out),
        14 => pack::<S, 14>(from, operand, out),
        16 => pack::<S, 16>(from, operand, out),
        32 => pack::<S, 32>(from, operand, out),
        other => unreachable!("no micro kernel has tiles of {other}"),
    }
}

fn pack<S: Compute, const THICKNESS: usize>(from: &[S], operand: Operand, out: &mut [S::Wide]) {
    let Operand {
        lanes,
        lane_stride,
        depth_stride,
        ..
    } = operand;
    let (lines, _) = out.as_chunks_mut::<THICKNESS>();
    if lanes < THICKNESS {
        pack_border(from, operand, lines);
    } else if lane_stride == 1 {
        pack_rows(from, depth_stride, lines);
    } else {
        pack_columns(from, lane_stride, depth_stride, lines);
    }
}

/// Lanes lie side by side: every step is one short copy.
fn pack_rows<S: Compute, const THICKNESS: usize>(
    from: &[S],
    stride: usize,
    lines: &mut [[S::Wide; THICKNESS]],
) {
    for (step, line) in lines.iter_mut().enumerate() {
        let (source, _) = from[step * stride..].as_chunks::<THICKNESS>();
        for (to, x) in line.iter_mut().zip(&source[0]) {
            *to = x.widen();
        }
    }
}

/// Steps lie side by side (or apart by a stride): the sliver is turned, in registers as far as squares go, then four steps of all
/// lanes at a time.
fn pack_columns<S: Compute, const THICKNESS: usize>(
    from: &[S],
    lane_stride: usize,
    stride: usize,
    lines: &mut [[S::Wide; THICKNESS]],
) {
    let done = if stride == 1 {
        turn(from, lane_stride, lines)
    } else {
        0
    };
    let (from, lines) = (&from[done * stride..], &mut lines[done..]);
    let (blocks, rest) = lines.as_chunks_mut::<4>();
    let turned = if stride == 1 { blocks.len() * 4 } else { 0 };
    if stride == 1 {
        let lanes: [&[[S; 4]]; THICKNESS] = std::array::from_fn(|lane| {
            &from[lane * lane_stride..][..turned].as_chunks::<4>().0[..blocks.len()]
        });
        for (at, block) in blocks.iter_mut().enumerate() {
            for first in (0..THICKNESS - THICKNESS % 4).step_by(4) {
                let square: [[S; 4]; 4] = std::array::from_fn(|lane| lanes[first + lane][at]);
                for step in 0..4 {
                    for lane in 0..4 {
                        block[step][first + lane] = square[lane][step].widen();
                    }
                }
            }
            for lane in THICKNESS - THICKNESS % 4..THICKNESS {
                for step in 0..4 {
                    block[step][lane] = lanes[lane][at][step].widen();
                }
            }
        }
    }
    let rest = if stride == 1 { rest } else { lines };
    for (step, line) in rest.iter_mut().enumerate() {
        for lane in 0..THICKNESS {
            line[lane] = from[lane * lane_stride + (turned + step) * stride].widen();
        }
    }
}

fn pack_border<S: Compute, const THICKNESS: usize>(
    from: &[S],
    operand: Operand,
    lines: &mut [[S::Wide; THICKNESS]],
) {
    for (step, line) in lines.iter_mut().enumerate() {
        for lane in 0..operand.lanes {
            line[lane] = from[step * operand.depth_stride + lane * operand.lane_stride].widen();
        }
        line[operand.lanes..].fill(zero::<S>());
    }
}

fn zero<S: Compute>() -> S::Wide {
    <S::Wide as crate::dtype::num::Float>::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_pack_to_the_same_sliver() {
        for (lanes, depth, thickness) in [(5, 37, 8), (8, 37, 8), (6, 40, 6), (1, 3, 4)] {
            let rows: Vec<f32> = (0..lanes * depth).map(|i| i as f32).collect();
            let columns: Vec<f32> = (0..lanes * depth)
                .map(|i| rows[i % lanes * depth + i / lanes])
                .collect();
            let mut packed = [vec![-1.0f32; thickness * depth], vec![-2.0f32; thickness * depth]];
            let operand = |lane_stride, depth_stride| Operand {
                lanes,
                depth,
                lane_stride,
                depth_stride,
            };
            pack_sliver(&rows, operand(depth, 1), thickness, &mut packed[0]);
            pack_sliver(&columns, operand(1, lanes), thickness, &mut packed[1]);
            assert_eq!(packed[0], packed[1]);
            for (at, &x) in packed[0].iter().enumerate() {
                let (step, lane) = (at / thickness, at % thickness);
                let want = if lane < lanes {
                    rows[lane * depth + step]
                } else {
                    0.0
                };
                assert_eq!(x, want);
            }
        }
    }
}
