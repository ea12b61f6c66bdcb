use super::grid::{Codes, pack};
use super::inputs::restored;
use super::*;
use crate::blocks::BlockType;

/// Numbers without a pattern, about normal.
fn noise(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..length)
        .map(|_| 2.0 * (0..4).map(|_| next()).sum::<f32>())
        .collect()
}

/// The product in f64, and the sum of the magnitudes of its terms.
fn slow(weight: &[f32], x: &[f32]) -> (f64, f64) {
    weight.iter().zip(x).fold((0.0, 0.0), |(sum, size), (&w, &x)| {
        let product = f64::from(w) * f64::from(x);
        (sum + product, size + product.abs())
    })
}

#[test]
fn products_are_those_of_the_decoded_weight() {
    for block_type in BlockType::ALL {
        let length = block_type.block_len().max(32);
        for (rows, columns, many) in [
            (1, length, 1),
            (7, 2 * length, 1),
            (33, 3 * length, 4),
            (5, length, 7),
            (9, 11 * length, 1),
            (6, 6 * length, 5),
            (70, length, 40),
        ] {
            let numbers = noise(rows as u64, rows * columns);
            let row_bytes = columns / block_type.block_len() * block_type.block_bytes();
            let mut bytes = vec![0; rows * row_bytes];
            crate::blocks::quantize(block_type, &numbers, columns, None, &mut bytes).unwrap();
            let mut decoded = vec![0.0; rows * columns];
            crate::blocks::dequantize(block_type, &bytes, &mut decoded).unwrap();
            let x = noise(99, many * columns);
            let bias = noise(7, rows);
            let packed = || Packed {
                form: Form::Blocks(block_type),
                bytes: &bytes,
                rows,
                columns,
            };
            for activations in [Activations::F32, Activations::Int8] {
                let mut out = vec![f32::NAN; many * rows];
                multiply(
                    &mut [Product {
                        weight: packed(),
                        bias: Some(&bias),
                        out: &mut out,
                    }],
                    &x,
                    activations,
                )
                .unwrap();
                for m in 0..many {
                    let own = &x[m * columns..][..columns];
                    let own = match activations {
                        Activations::F32 => own.to_vec(),
                        Activations::Int8 => restored(&Row::new(
                            own,
                            activations,
                            Need {
                                zero: 0,
                                summed: PART,
                                quads: false,
                                floats: false,
                            },
                        )),
                    };
                    for i in 0..rows {
                        let (sum, size) = slow(&decoded[i * columns..][..columns], &own);
                        let found = f64::from(out[m * rows + i]);
                        let want = sum + f64::from(bias[i]);
                        let most = (size + want.abs()) * columns as f64 * f64::from(f32::EPSILON);
                        assert!(
                            (found - want).abs() <= most,
                            "{block_type:?} {activations:?} {rows}x{columns} {m},{i}: {found} {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn products_with_grids_are_those_of_their_values() {
    for bits in [2, 3, 4, 8] {
        for (run, wide) in [
            (1, false),
            (1, true),
            (2, true),
            (3, false),
            (4, false),
            (8, true),
            (18, false),
        ] {
            let grid = Grid { bits, run, wide };
            let (rows, blocks) = (9, 3);
            let places = blocks * grid.block_len();
            // The last places of each block stand for nothing.
            let columns = places - 5 * blocks;
            let own = columns / blocks;
            let order: Vec<u32> = (0..places)
                .map(|p| {
                    let (block, i) = (p / grid.block_len(), p % grid.block_len());
                    if i < own {
                        (block * own + i) as u32
                    } else {
                        u32::MAX
                    }
                })
                .collect();
            let codes: Vec<u8> = (0..rows * columns)
                .map(|i| ((i * 7919 + i / 13) % (1 << bits)) as u8)
                .collect();
            let halves = |x: Vec<f32>| -> Vec<f32> {
                x.into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect()
            };
            let steps = halves(noise(bits as u64, rows * blocks));
            let zeros: Vec<f32> = (0..rows * blocks).map(|i| (i % (1 << bits)) as f32).collect();
            let from = Codes {
                codes: &codes,
                columns,
                order: &order,
                steps: &steps,
                zeros: &zeros,
            };
            let mut bytes = vec![0; rows * blocks * grid.block_bytes()];
            pack(grid, &from, &mut bytes).unwrap();
            for many in [1, 4, 6, 30] {
                let mut x = noise(5, many * places);
                for (p, x) in x.iter_mut().enumerate() {
                    if order[p % places] == u32::MAX {
                        *x = 0.0;
                    }
                }
                for activations in [Activations::F32, Activations::Int8] {
                    let packed = || Packed {
                        form: Form::Grid(grid),
                        bytes: &bytes,
                        rows,
                        columns: places,
                    };
                    let mut out = vec![f32::NAN; many * rows];
                    multiply(
                        &mut [Product {
                            weight: packed(),
                            bias: None,
                            out: &mut out,
                        }],
                        &x,
                        activations,
                    )
                    .unwrap();
                    for m in 0..many {
                        let own_x = &x[m * places..][..places];
                        let rounded = match activations {
                            Activations::F32 => own_x.to_vec(),
                            Activations::Int8 => restored(&Row::new(
                                own_x,
                                activations,
                                Need {
                                    zero: 0,
                                    summed: PART,
                                    quads: false,
                                    floats: false,
                                },
                            )),
                        };
                        for row in 0..rows {
                            let (mut sum, mut size) = (0.0, 0.0);
                            for (p, &column) in order.iter().enumerate().filter(|(_, c)| **c != u32::MAX) {
                                let group = row * blocks + p / grid.block_len();
                                let level = f32::from(codes[row * columns + column as usize]) - zeros[group];
                                let product =
                                    f64::from(steps[group]) * f64::from(level) * f64::from(rounded[p]);
                                sum += product;
                                // Codes and zeros meet inputs apart.
                                size +=
                                    product.abs() + f64::from(steps[group] * zeros[group] * rounded[p]).abs();
                            }
                            let found = f64::from(out[m * rows + row]);
                            let most = size * places as f64 * f64::from(f32::EPSILON);
                            assert!(
                                (found - sum).abs() <= most,
                                "{grid:?} {activations:?} {many}: {found} {sum}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn products_that_go_together_have_the_bits_that_they_have_alone() {
    let (columns, many) = (768, 3);
    let x = noise(3, many * columns);
    let weights: Vec<_> = [
        (BlockType::Q4_1, 40),
        (BlockType::Q8_0, 7),
        (BlockType::Q4_1, 1),
        (BlockType::Q6_K, 33),
    ]
    .into_iter()
    .map(|(block_type, rows)| {
        let numbers = noise(rows as u64, rows * columns);
        let mut bytes = vec![0; Form::Blocks(block_type).row_bytes(columns) * rows];
        crate::blocks::quantize(block_type, &numbers, columns, None, &mut bytes).unwrap();
        (block_type, rows, bytes)
    })
    .collect();
    for activations in [Activations::F32, Activations::Int8] {
        let run = |which: &[usize]| {
            let mut outs: Vec<_> = which
                .iter()
                .map(|&i| vec![f32::NAN; many * weights[i].1])
                .collect();
            let mut products: Vec<_> = which
                .iter()
                .zip(&mut outs)
                .map(|(&i, out)| Product {
                    weight: Packed {
                        form: Form::Blocks(weights[i].0),
                        bytes: &weights[i].2,
                        rows: weights[i].1,
                        columns,
                    },
                    bias: None,
                    out,
                })
                .collect();
            multiply(&mut products, &x, activations).unwrap();
            drop(products);
            outs
        };
        let together = run(&[0, 1, 2, 3]);
        for i in 0..weights.len() {
            assert_eq!(run(&[i])[0], together[i], "{i} {activations:?}");
        }
    }
}

#[test]
fn every_form_has_a_code_of_its_own() {
    let grids = [2, 3, 4, 8].into_iter().flat_map(|bits| {
        [(1, false), (4, true), (form::MOST_PARTS, false)]
            .map(|(run, wide)| Form::Grid(Grid { bits, run, wide }))
    });
    let forms: Vec<_> = BlockType::ALL
        .map(Form::Blocks)
        .into_iter()
        .chain(grids)
        .collect();
    let codes: std::collections::HashSet<_> = forms.iter().map(|form| form.code()).collect();
    assert_eq!(codes.len(), forms.len());
    for form in forms {
        assert_eq!(Form::from_code(form.code()), Some(form));
    }
    for wrong in [
        BlockType::ALL.len() as u32,
        1 << 31,
        1 << 31 | 5 << 24 | 1,
        u32::MAX,
    ] {
        assert_eq!(Form::from_code(wrong), None);
    }
}
