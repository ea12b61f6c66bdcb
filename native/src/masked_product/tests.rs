use super::*;
use crate::packed_product::restored;

fn number(i: usize) -> f32 {
    ((i * 7919 + 13) % 257) as f32 / 64.0 - 2.0
}

/// Marks of all kinds of density, and what they mark.
fn marks(rows: usize, columns: usize) -> Vec<u8> {
    (0..rows * columns.div_ceil(8))
        .map(|i| match i % 11 {
            0 => 0,
            1 => 255,
            _ => (i * 151 % 256) as u8,
        })
        .collect()
}

#[test]
fn products_are_those_of_the_decoded_weight() {
    let all = [
        Numbers::Floats(Written::F32),
        Numbers::Floats(Written::F16),
        Numbers::Floats(Written::BF16),
    ]
    .into_iter()
    .chain(
        [(32, false), (64, true), (128, false)]
            .into_iter()
            .flat_map(|(group, wide)| [true, false].map(|nibbles| Numbers::Codes { nibbles, group, wide })),
    );
    for numbers in all {
        for (rows, columns) in [(1, 1), (7, 64), (5, 100), (33, 200), (3, 513)] {
            let marks = marks(rows, columns);
            let width = columns.div_ceil(8);
            let living: usize = (0..rows)
                .map(|row| crate::bitmask::count(&marks[row * width..(row + 1) * width], columns))
                .sum();
            let floats: Vec<u8> = (0..living)
                .flat_map(|i| match numbers {
                    Numbers::Floats(Written::F32) => number(i).to_le_bytes().to_vec(),
                    Numbers::Floats(Written::F16) => half::f16::from_f32(number(i)).to_le_bytes().to_vec(),
                    Numbers::Floats(Written::BF16) => half::bf16::from_f32(number(i)).to_le_bytes().to_vec(),
                    Numbers::Codes { .. } => Vec::new(),
                })
                .collect();
            let most = if matches!(numbers, Numbers::Codes { nibbles: true, .. }) {
                16
            } else {
                256
            };
            let codes: Vec<u8> = (0..living).map(|i| (i * 37 % most) as u8).collect();
            let groups = match numbers {
                Numbers::Codes { group, .. } => columns.div_ceil(group),
                Numbers::Floats(_) => 1,
            };
            let steps: Vec<f32> = (0..rows * groups).map(|i| 2f32.powi(-(i as i32 % 5))).collect();
            let zeros: Vec<f32> = (0..rows * groups).map(|i| (i % 16) as f32).collect();
            let of_grid = Codes {
                codes: &codes,
                steps: &steps,
                zeros: &zeros,
            };
            let of_grid = matches!(numbers, Numbers::Codes { .. }).then_some(&of_grid);
            let (stream, starts) = pack(numbers, &marks, (rows, columns), &floats, of_grid).unwrap();
            let weight = Masked {
                numbers,
                stream: &stream,
                starts: &starts,
                columns,
            };
            let mut decoded = vec![f32::NAN; rows * columns];
            weight.decode(0..rows, &mut decoded).unwrap();
            let mut next = 0;
            for row in 0..rows {
                for column in 0..columns {
                    let want = if marks[row * width + column / 8] >> (column % 8) & 1 == 0 {
                        0.0
                    } else {
                        next += 1;
                        match numbers {
                            Numbers::Floats(Written::F32) => number(next - 1),
                            Numbers::Floats(Written::F16) => half::f16::from_f32(number(next - 1)).to_f32(),
                            Numbers::Floats(Written::BF16) => half::bf16::from_f32(number(next - 1)).to_f32(),
                            Numbers::Codes { group, .. } => {
                                let at = row * groups + column / group;
                                steps[at] * (f32::from(codes[next - 1]) - zeros[at])
                            }
                        }
                    };
                    assert_eq!(
                        decoded[row * columns + column],
                        want,
                        "{numbers:?} {row},{column}"
                    );
                }
            }
            for many in [1, 4, 6, 20] {
                let x: Vec<f32> = (0..many * columns).map(|i| number(i * 3 + 1)).collect();
                for activations in [Activations::F32, Activations::Int8] {
                    let mut out = vec![f32::NAN; many * rows];
                    multiply(&weight, &x, activations, &mut out).unwrap();
                    for m in 0..many {
                        let own = &x[m * columns..(m + 1) * columns];
                        let rounded = match activations {
                            Activations::F32 => own.to_vec(),
                            Activations::Int8 => {
                                let mut padded = own.to_vec();
                                padded.resize(columns.next_multiple_of(PART), 0.0);
                                let need = Need {
                                    zero: 0,
                                    summed: PART,
                                    quads: false,
                                    floats: false,
                                };
                                restored(&Row::new(&padded, activations, need))
                            }
                        };
                        for row in 0..rows {
                            let (mut want, mut size) = (0.0, 0.0);
                            for column in 0..columns {
                                let product =
                                    f64::from(decoded[row * columns + column]) * f64::from(rounded[column]);
                                want += product;
                                // Codes and zeros are multiplied apart.
                                size += product.abs() + 256.0 * f64::from(rounded[column]).abs();
                            }
                            let found = f64::from(out[m * rows + row]);
                            assert!(
                                (found - want).abs() <= size * 64.0 * f64::from(f32::EPSILON),
                                "{numbers:?} {activations:?} {rows}x{columns} {m},{row}: {found} {want}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn as_many_numbers_as_marks_are_needed() {
    let numbers = Numbers::Floats(Written::F16);
    let fault = pack(numbers, &[0b11], (1, 8), &[0, 0], None).unwrap_err();
    assert_eq!(fault.code, "PARE_E_FORMAT");
}
