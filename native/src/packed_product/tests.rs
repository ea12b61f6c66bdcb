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
            let weight = Packed {
                block_type,
                bytes: &bytes,
                rows,
                columns,
            };
            for activations in [Activations::F32, Activations::Int8] {
                let mut out = vec![f32::NAN; many * rows];
                multiply(&weight, &x, activations, Some(&bias), &mut out).unwrap();
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
